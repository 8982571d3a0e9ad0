# $1: the new root. UV_VERSION: from the recipe. Makes /opt/installer, which installs, and /opt/venv, which is
# installed into, and leaves the hosts that the installer fetches from in /boot/registry-hosts.
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
	chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
		${bundle:+PIP_CERT=/run/host-ca.pem SSL_CERT_FILE=/run/host-ca.pem} \
		${HTTPS_PROXY:+HTTPS_PROXY="$HTTPS_PROXY"} ${https_proxy:+https_proxy="$https_proxy"} \
		${NO_PROXY:+NO_PROXY="$NO_PROXY"} ${no_proxy:+no_proxy="$no_proxy"} \
		${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
		"$@"
}
inside python3 -m venv /opt/installer
inside /opt/installer/bin/pip install --quiet --no-cache-dir --no-compile --disable-pip-version-check "uv==$UV_VERSION"
inside /opt/installer/bin/uv venv --quiet --no-cache --python /usr/bin/python3 --no-python-downloads /opt/venv

mkdir -p "$root/boot"
inside /opt/installer/bin/python - > "$root/boot/registry-hosts" <<'PYTHON'
from urllib.parse import urlsplit
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI

configuration = Configuration(isolated=False)
configuration.load()
urls = [PyPI.simple_url, f"https://{PyPI.file_storage_domain}/"]
for key, value in configuration.items():
    if key.split(".")[-1] in ("index-url", "extra-index-url", "find-links"):
        urls += value.split()
hosts = set()
for url in map(urlsplit, urls):
    if url.scheme in ("http", "https") and url.hostname:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        hosts.add(url.hostname if port == 443 else f"{url.hostname}:{port}")
print("\n".join(sorted(hosts)))
PYTHON

rm -f "$root/run/host-ca.pem"
[ -z "${made_resolv_conf:-}" ] || rm -f "$root/etc/resolv.conf"
# Byte code carries the time at which its source was written, which differs from host to host.
find "$root/opt" -type d -name __pycache__ -prune -exec rm -rf {} +
