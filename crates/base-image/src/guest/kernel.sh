# $1: the new root. KERNEL_PACKAGE, INITRD_INIT: from the recipe. Leaves /boot/vmlinuz and /boot/initrd.img.
set -eu
root=$1

# The kernel's package is unpacked aside and not installed: installing it brings a whole initramfs builder.
work=/var/tmp/kernel
mkdir -p "$root$work"
version=$(chroot "$root" apt-cache depends "$KERNEL_PACKAGE" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$version" ] || { echo "$KERNEL_PACKAGE depends on no kernel" >&2; exit 1; }
chroot "$root" sh -c "cd $work && apt-get download -q $version && dpkg-deb -x ./*.deb unpacked"
modules=$(echo "$root$work"/unpacked/lib/modules/*)
release=${modules##*/}
chroot "$root" busybox depmod -b "$work/unpacked" "$release"

initrd=$work/initrd
mkdir -p "$root$initrd/bin" "$root$initrd/dev" "$root$initrd/proc" "$root$initrd/sys" "$root$initrd/root" "$root$initrd/modules"
cp "$root/bin/busybox" "$root$initrd/bin/"
for applet in sh mount umount insmod sleep ip switch_root grep poweroff; do
	ln -s busybox "$root$initrd/bin/$applet"
done
printf '%s' "$INITRD_INIT" > "$root$initrd/init"
chmod 755 "$root$initrd/init"

# A module after those that it needs; the name's number is the order. What is built in has no file.
number=100
for module in virtio_pci virtio_blk virtio_console virtio_net virtio-rng; do
	line=$(grep "/$module\.ko[^:]*:" "$modules/modules.dep") || continue
	last_first=${line%%:*}${line#*:}
	needed=
	for file in $last_first; do needed="$file $needed"; done
	for file in $needed; do
		name=${file##*/}
		ls "$root$initrd/modules" | grep -q -- "^[0-9]*-$name$" && continue
		cp "$modules/$file" "$root$initrd/modules/$number-$name"
		number=$((number + 1))
	done
done

mkdir -p "$root/boot"
chroot "$root" sh -c "cd $initrd && find . | sort | busybox cpio -o -H newc 2>/dev/null | gzip -9n" > "$root/boot/initrd.img"
cp "$root$work/unpacked/boot/vmlinuz-$release" "$root/boot/vmlinuz"
rm -rf "${root:?}$work"
