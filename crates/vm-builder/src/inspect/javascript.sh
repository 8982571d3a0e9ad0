# Run in the guest of an image that somebody brought. $1 and $2: where the proxy is; then the paths at which the
# installer may be. Prints `program`, `version`, `folder` and `host` lines; `missing WHAT`, and no more, when something
# is.
proxy_address=$1 proxy_port=$2
shift 2
missing() { echo "missing $*"; exit 0; }

program=
for candidate in "$@" "$(command -v bun)" /opt/installer/bin/bun /usr/local/bin/bun "${HOME:-/root}/.bun/bin/bun"; do
	[ -x "$candidate" ] && [ ! -d "$candidate" ] && { program=$candidate; break; }
done
[ -n "$program" ] || missing installer
version=$("$program" --version 2>&1) || missing installer-that-runs "$program: $version"
echo "program $program"
echo "version $version"

folder=
for candidate in /opt/packages "${HOME:-/root}" /; do
	[ -f "$candidate/package.json" ] && { folder=$candidate; break; }
done
[ -n "$folder" ] || missing environment
echo "folder $folder"

"$program" -e '
const [address, port] = process.argv.slice(-2);
const socket = require("net").connect(Number(port), address, () => process.exit(0));
socket.setTimeout(10000, () => process.exit(1));
socket.on("error", () => process.exit(1));
' -- "$proxy_address" "$proxy_port" || missing network

# It names its registry when it asks there, which the proxy refuses.
aside=$(mktemp -d) && echo '{"private":true}' > "$aside/package.json"
proxy=http://$proxy_address:$proxy_port
HTTPS_PROXY=$proxy HTTP_PROXY=$proxy BUN_INSTALL_CACHE_DIR=$aside/cache DO_NOT_TRACK=1 NO_COLOR=1 \
	"$program" add --cwd "$aside" --verbose --no-progress ms@2.1.3 2>&1 |
	sed -n 's#^.* GET \(https\{0,1\}\)://\([^/ ]*\).*#\1 \2#p' |
	sed -e '/^http [^:]*$/s/$/:80/' -e '/^https /s/:443$//' -e 's/^[^ ]* /host /'
rm -rf "$aside"
