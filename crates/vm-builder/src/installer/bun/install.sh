bun=$1 folder=$2
shift 2
cd "$folder" || exit
# Scripts of packages are run, of dependencies too: the virtual machine is what holds them.
"$bun" add --exact --trust --no-progress -- "$@" || {
	code=$?
	# It does not say so itself.
	free=$(df --output=avail --block-size=1K . | tail -n 1)
	[ "$free" -ge 4096 ] || echo 'error: No space left on device' >&2
	exit "$code"
}

# A package that is for other platforms is skipped without an error.
for package in "$@"; do
	name=${package%@*}
	[ -e "node_modules/$name" ] || { echo "error: $package is not made for this platform" >&2; exit 1; }
done

# The programs of packages are found by name, as long as the system has none of that name.
for program in node_modules/.bin/*; do
	name=${program##*/}
	[ -e "$program" ] || continue
	command -v -- "$name" > /dev/null || ln -s "$folder/$program" "/usr/local/bin/$name"
done
