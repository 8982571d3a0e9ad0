# Run in the guest of an image that somebody brought. $1 and $2: where the proxy is; then the paths at which the
# installer may be. Prints `program`, `version`, `python` and `host` lines; `missing WHAT`, and no more, when something is.
proxy_address=$1 proxy_port=$2
shift 2
missing() { echo "missing $*"; exit 0; }

program=
for candidate in "$@" "$(command -v uv)" /opt/installer/bin/uv /usr/local/bin/uv "${HOME:-/root}/.local/bin/uv"; do
	[ -x "$candidate" ] && [ ! -d "$candidate" ] && { program=$candidate; break; }
done
[ -n "$program" ] || missing installer
version=$("$program" --version 2>&1) || missing installer-that-runs "$program: $version"
echo "program $program"
echo "version $version"

python=$(command -v python3) || missing beside
echo "python $python"
# Debian and others keep installers out of the system's own environment.
"$python" - <<'PYTHON' || missing environment
import os, sys, sysconfig
managed = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
sys.exit(sys.prefix == sys.base_prefix and os.path.exists(managed))
PYTHON
said=$("$program" pip list --python "$python" 2>&1) || missing installer-that-runs "$(echo "$said" | tail -n 1)"
"$python" - "$proxy_address" "$proxy_port" <<'PYTHON' || missing network
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()
except OSError:
    sys.exit(1)
PYTHON

# uv does not tell its registries; pip, which has the same, does.
for asked in "${program%/*}/python3" "$python" /usr/bin/python3; do
	[ -x "$asked" ] && "$asked" -c 'import pip' 2>/dev/null || continue
	"$asked" - <<'PYTHON'
from urllib.parse import urlsplit
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI

configuration = Configuration(isolated=False)
configuration.load()
urls = [PyPI.simple_url, f"https://{PyPI.file_storage_domain}/"]
for key, value in configuration.items():
    if key.split(".")[-1] in ("index-url", "extra-index-url", "find-links"):
        urls += value.split()
for url in map(urlsplit, urls):
    if url.scheme in ("http", "https") and url.hostname:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        print("host", url.hostname if port == 443 else f"{url.hostname}:{port}")
PYTHON
	break
done
