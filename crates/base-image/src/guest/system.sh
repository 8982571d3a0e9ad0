# $1: the new root. INIT, SHUTDOWN: from the recipe.
set -eu
root=$1
mkdir -p "$root/usr/lib/snaptier"
printf '%s' "$INIT" > "$root/usr/lib/snaptier/init"
rm -f "$root/sbin/shutdown"
printf '%s' "$SHUTDOWN" > "$root/sbin/shutdown"
chmod 755 "$root/usr/lib/snaptier/init" "$root/sbin/shutdown"

echo snaptier > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\tsnaptier\n' > "$root/etc/hosts"
: > "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/* \
	"$root"/var/cache/* "$root"/var/log/* "$root"/var/lib/apt/lists/* "$root"/var/tmp/* "$root"/tmp/*
# Made at random, or by the clock, on each host anew.
rm -f "$root"/var/lib/systemd/random-seed "$root"/etc/.pwd.lock "$root"/var/lib/dpkg/*-old "$root"/etc/*- \
	"$root"/var/cache/ldconfig/aux-cache
sed -i 's/^\([^:]*:[^:]*\):[0-9]*:/\1:20000:/' "$root/etc/shadow"
