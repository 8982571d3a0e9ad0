# In an empty folder with root.tar. EPOCH, DISK_BYTES, DISK_UUID: from the recipe. Leaves disk.qcow2 and the
# contents of the new root's /boot.
set -eu
mkdir root
tar --extract --numeric-owner --preserve-permissions --file root.tar --directory root --exclude './dev/*'
rm root.tar
mv root/boot/* .
touch --date "@$EPOCH" root/boot

# No journal: a guest that dies in the midst is thrown away, and one that lives unmounts. No inode tables
# to be zeroed later: every snapshot would hold them.
export E2FSPROGS_FAKE_TIME="$EPOCH"
truncate --size "$DISK_BYTES" root.ext4
mke2fs -q -F -t ext4 -d root -m 0 -L root -U "$DISK_UUID" -O '^has_journal,^resize_inode' \
	-E "hash_seed=$DISK_UUID,assume_storage_prezeroed=1,lazy_itable_init=0" root.ext4

# The times at which this host unpacked the files are no part of the image.
inodes=$(dumpe2fs -h root.ext4 2>/dev/null | sed -n 's/^Inode count: *//p')
free=$(dumpe2fs -h root.ext4 2>/dev/null | sed -n 's/^Free inodes: *//p')
used=$((inodes - free))
{
	for inode in 2 $(seq 11 "$used"); do
		for field in atime ctime crtime; do
			echo "set_inode_field <$inode> $field @$EPOCH"
			echo "set_inode_field <$inode> ${field}_extra 0"
		done
		echo "set_inode_field <$inode> mtime_extra 0"
	done
} > times
debugfs -w -f times root.ext4 > /dev/null 2> debugfs.err || { cat debugfs.err >&2; exit 1; }

qemu-img convert -f raw -O qcow2 root.ext4 disk.qcow2
rm -rf root root.ext4 times debugfs.err
