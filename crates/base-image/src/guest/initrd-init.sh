#!/bin/sh
# Process 1 of the initial RAM disk: drivers, root disk, network card, and on to the root disk.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys

# A host that only wants to know whether a guest runs at all.
grep -qw snaptier.proof /proc/cmdline && poweroff -f

for module in /modules/*.ko; do
	[ -e "$module" ] && insmod "$module"
done

tries=0
until [ -b /dev/vda ]; do
	tries=$((tries + 1))
	[ "$tries" -gt 500 ] && { echo 'snaptier: no root disk'; poweroff -f; }
	sleep 0.01
done
# What is deleted is discarded at once, so that it is no part of the snapshot.
mount -t ext4 -o noatime,discard /dev/vda /root || { echo 'snaptier: cannot mount the root disk'; poweroff -f; }

ip link set lo up
# The host's end of the wire is all there is: no route leads further, and there is no name service.
for card in /sys/class/net/e*; do
	[ -e "$card" ] || continue
	ip addr add 10.0.2.15/24 dev "${card##*/}"
	ip link set "${card##*/}" up
done

umount /sys
umount /proc
mount --move /dev /root/dev
exec switch_root /root /usr/lib/snaptier/init
