//! Each way of being dangerous or damaged, as an edit of a good file. What each is refused for stands
//! beside the files that they make, in `fixtures/qcow2/hostile/reasons.json`.

use crate::edits::{Image, V3_FIELDS, stored};

/// One hostile file.
pub(crate) struct Edit {
    /// What is wrong with it.
    name: &'static str,
    /// The good file that it is made of.
    of: &'static str,
    make: fn(&mut Image),
}

impl Edit {
    pub(crate) fn file_name(&self) -> String {
        format!("{}.qcow2", self.name)
    }

    pub(crate) fn make(&self) -> Vec<u8> {
        let mut image = stored(&format!("{}.qcow2", self.of));
        (self.make)(&mut image);
        image.0
    }
}

const fn edit(name: &'static str, of: &'static str, make: fn(&mut Image)) -> Edit {
    Edit { name, of, make }
}

/// Far past the end of any of the files, and at a cluster of any of them.
const FAR: u64 = 1 << 40;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

pub(crate) const EDITS: &[Edit] = &[
    // Not, or not quite, a header.
    edit("empty", "v3", |image| image.0.clear()),
    edit("no-magic", "v3", |image| image.put(0, b"QFI\0")),
    edit("version-1", "v3", |image| image.put_u32(4, 1)),
    edit("version-9", "v3", |image| image.put_u32(4, 9)),
    edit("cut-in-the-header", "v3", |image| image.0.truncate(60)),
    edit("cut-in-the-header-of-version-3", "v3", |image| {
        image.0.truncate(V3_FIELDS - 2);
    }),
    edit("clusters-of-256-bytes", "v3", |image| image.put_u32(20, 8)),
    edit("clusters-of-4-mib", "v3", |image| image.put_u32(20, 22)),
    edit("clusters-of-2-to-the-255", "v3", |image| {
        image.put_u32(20, 255);
    }),
    edit("header-length-too-short", "v3", |image| {
        image.put_u32(100, 96);
    }),
    edit("header-length-odd", "v3", |image| image.put_u32(100, 109)),
    edit("header-length-past-the-cluster", "v3", |image| {
        image.put_u32(100, 0xffff_fff8);
    }),
    edit("disk-larger-than-63-bits", "v3", |image| {
        image.put_u64(24, u64::MAX);
    }),
    edit("disk-larger-than-its-l1", "v3", |image| {
        image.put_u64(24, 1 << 50);
    }),
    // Where the header says that tables are.
    edit("l1-too-large", "v3", |image| image.put_u32(36, u32::MAX)),
    edit("l1-past-the-end", "v3", |image| image.put_u64(40, FAR)),
    edit("l1-past-the-end-of-64-bits", "v3", |image| {
        image.put_u64(40, u64::MAX << 9);
    }),
    edit("l1-in-the-header", "v3", |image| image.put_u64(40, 0)),
    edit("l1-between-clusters", "v3", |image| {
        image.put_u64(40, image.u64_at(40) + 8);
    }),
    edit("l1-over-the-refcount-table", "v3", |image| {
        image.put_u64(40, image.u64_at(48));
    }),
    edit("l1-of-nothing-between-clusters", "untouched", |image| {
        image.put_u64(24, 0);
        image.put_u32(36, 0);
        image.put_u64(40, 8);
    }),
    edit("l1-cut-off", "untouched", |image| {
        image.0.truncate(image.l1() + 12);
    }),
    edit("refcount-table-past-the-end", "v3", |image| {
        image.put_u64(48, FAR);
    }),
    edit("refcount-table-in-the-header", "v3", |image| {
        image.put_u64(48, 0);
    }),
    edit("refcount-table-missing", "v3", |image| image.put_u32(56, 0)),
    edit("refcount-table-too-large", "v3", |image| {
        image.put_u32(56, u32::MAX);
    }),
    edit("refcount-table-over-the-l1", "v3", |image| {
        image.put_u32(56, 3);
    }),
    edit("refcounts-of-128-bits", "v3", |image| image.put_u32(96, 7)),
    edit("snapshot-table-past-the-end", "v3", |image| {
        image.put_u32(60, 3);
        image.put_u64(64, FAR);
    }),
    edit("snapshot-table-in-the-header", "v3", |image| {
        image.put_u32(60, 1);
    }),
    edit("snapshot-table-between-clusters", "v3", |image| {
        image.put_u64(64, 0x123);
    }),
    // The extensions.
    edit("extension-past-the-backing-name", "v3", |image| {
        image.put_u32(116, u32::MAX);
    }),
    edit("extensions-without-end", "compressed-zlib", |image| {
        for kind in 1..=64 {
            image.add_extension(kind, b"");
        }
    }),
    edit("backing-format-twice", "v3", |image| {
        image.add_extension(0xe279_2aca, b"raw");
    }),
    // The backing file.
    edit("backing-missing", "v3", |image| image.put_u64(8, 0)),
    edit("backing-name-too-long", "v3", |image| {
        image.put_u32(16, 1024);
    }),
    edit("backing-name-empty", "v3", |image| image.put_u32(16, 0)),
    edit("backing-name-past-the-first-cluster", "v3", |image| {
        image.put_u64(8, 508);
    }),
    edit("backing-name-past-64-bits", "v3", |image| {
        image.put_u64(8, u64::MAX);
    }),
    edit("backing-name-in-the-fields", "v3", |image| {
        image.put_u64(8, 8);
    }),
    edit("backing-name-cut-off", "v3", |image| {
        let name_at = image.u64_at(8) as usize;
        image.0.truncate(name_at + 4);
    }),
    edit("backing-name-not-utf8", "v3", |image| {
        image.name_backing(b"base\xff");
    }),
    edit("backing-name-with-nul", "v3", |image| {
        image.name_backing(b"base.qcow2\0.raw");
    }),
    edit("backing-json", "v3", |image| {
        image.name_backing(br#"json:{"driver":"file","filename":"/etc/shadow"}"#);
    }),
    edit("backing-nbd", "v3", |image| {
        image.name_backing(b"nbd://127.0.0.1:10809/disk");
    }),
    edit("backing-https", "v3", |image| {
        image.name_backing(b"https://example.com/base.qcow2");
    }),
    edit("backing-fat", "v3", |image| image.name_backing(b"fat:rw:/")),
    edit("backing-file-protocol", "v3", |image| {
        image.name_backing(b"file:/etc/shadow");
    }),
    edit("backing-format-missing", "v3", |image| {
        image.put_u32(112, 0x1234_5678);
    }),
    edit("backing-format-empty", "v3", |image| {
        image.name_backing_format(b"");
    }),
    edit("backing-format-luks", "v3", |image| {
        image.name_backing_format(b"luks");
    }),
    edit("backing-format-vmdk", "v3", |image| {
        image.name_backing_format(b"vmdk");
    }),
    edit("backing-format-with-nul", "v3", |image| {
        image.name_backing_format(b"raw\0x");
    }),
    edit("backing-format-not-utf8", "v3", |image| {
        image.name_backing_format(b"raw\xff");
    }),
    // What the format has, and a snapshot has no business with.
    edit("encrypted-with-aes", "v3", |image| image.put_u32(32, 1)),
    edit("encrypted-with-luks", "v3", |image| image.put_u32(32, 2)),
    edit("encrypted-with-what", "v3", |image| image.put_u32(32, 3)),
    edit("encryption-header", "v3", |image| {
        image.add_extension(0x0537_be77, &[0; 16]);
    }),
    edit("internal-snapshot", "v3", |image| {
        image.put_u32(60, 1);
        image.put_u64(64, image.0.len() as u64);
        image.0.extend([0; 512]);
    }),
    edit("persistent-bitmaps", "v3", |image| {
        image.put_u64(88, 1);
        image.add_extension(0x2385_2875, &[0; 24]);
    }),
    edit("persistent-bitmaps-out-of-date", "v3", |image| {
        image.add_extension(0x2385_2875, &[0; 24]);
    }),
    edit("persistent-bitmaps-nowhere", "v3", |image| {
        image.put_u64(88, 1);
    }),
    edit("dirty", "v3", |image| image.put_u64(72, 1)),
    edit("corrupt", "v3", |image| image.put_u64(72, 2)),
    edit("external-data-file", "v3", |image| image.put_u64(72, 4)),
    edit("external-data-file-name", "v3", |image| {
        image.add_extension(0x4441_5441, b"/etc/shadow");
    }),
    edit("external-data-file-raw", "v3", |image| {
        image.put_u64(88, 2);
    }),
    edit("unknown-incompatible-feature", "v3", |image| {
        image.put_u64(72, 0x8000);
    }),
    edit("unknown-autoclear-feature", "v3", |image| {
        image.put_u64(88, 0x8000);
    }),
    edit("compression-type-without-its-feature", "v3", |image| {
        image.put(V3_FIELDS, &[1]);
    }),
    edit("compression-feature-without-its-type", "v3", |image| {
        image.put_u64(72, 8);
    }),
    edit("compression-type-unknown", "compressed-zstd", |image| {
        image.put(V3_FIELDS, &[9]);
    }),
    edit("extended-l2-in-clusters-of-512-bytes", "v3", |image| {
        image.put_u64(72, 16);
    }),
    // The refcount table.
    edit("refcount-block-past-the-end", "v3", |image| {
        image.put_u64(image.refcount_table(), FAR);
    }),
    edit(
        "refcount-block-between-clusters",
        "compressed-zlib",
        |image| image.put_u64(image.refcount_table(), 0xa00),
    ),
    edit("refcount-block-with-reserved-bits", "v3", |image| {
        image.put_u64(image.refcount_table(), image.refcount_block() as u64 | 0x10);
    }),
    edit("refcount-block-in-the-l1", "v3", |image| {
        image.put_u64(image.refcount_table(), image.l1() as u64);
    }),
    edit("refcount-block-in-the-refcount-table", "v3", |image| {
        image.put_u64(image.refcount_table(), image.refcount_table() as u64);
    }),
    edit("refcount-block-twice", "v3", |image| {
        image.put_u64(image.refcount_table() + 8, image.refcount_block() as u64);
    }),
    // The L1 table.
    edit("l2-table-past-the-end", "v3", |image| {
        image.put_u64(image.l1(), FAR | COPIED);
    }),
    edit("l2-table-between-clusters", "compressed-zlib", |image| {
        image.put_u64(image.l1(), 0x1200 | COPIED);
    }),
    edit("l2-table-with-reserved-bits", "v3", |image| {
        image.put_u64(image.l1(), image.u64_at(image.l1()) | 1 << 56);
    }),
    edit("l2-table-in-the-l1", "v3", |image| {
        image.put_u64(image.l1(), image.l1() as u64 | COPIED);
    }),
    edit("l2-table-in-the-refcount-table", "v3", |image| {
        image.put_u64(image.l1(), image.refcount_table() as u64 | COPIED);
    }),
    edit("l2-table-in-a-refcount-block", "v3", |image| {
        image.put_u64(image.l1(), image.refcount_block() as u64 | COPIED);
    }),
    edit("l2-table-twice", "v3", |image| {
        image.put_u64(image.l1() + 8, image.u64_at(image.l1()));
    }),
    // The L2 tables.
    edit("data-past-the-end", "v3", |image| {
        image.put_u64(image.l2() + 8, FAR | COPIED);
    }),
    edit("data-cut-off", "v3", |image| image.0.truncate(0x1400)),
    edit("l2-table-cut-off", "v3", |image| image.0.truncate(0x1200)),
    edit("data-between-clusters", "compressed-zlib", |image| {
        image.put_u64(image.l2(), 0x1200 | COPIED);
    }),
    edit("data-with-reserved-bits", "v3", |image| {
        image.put_u64(image.l2(), 2);
    }),
    edit("data-in-the-refcount-table", "v3", |image| {
        image.put_u64(image.l2(), image.refcount_table() as u64 | COPIED);
    }),
    edit("data-in-a-refcount-block", "v3", |image| {
        image.put_u64(image.l2(), image.refcount_block() as u64 | COPIED);
    }),
    edit("data-in-the-l1", "v3", |image| {
        image.put_u64(image.l2(), image.l1() as u64 | COPIED);
    }),
    edit("data-in-an-l2-table", "v3", |image| {
        image.put_u64(image.l2(), image.l2() as u64 | COPIED);
    }),
    edit("zero-cluster-in-version-2", "v2", |image| {
        image.put_u64(image.l2(), 1);
    }),
    // Five bytes of the entry are there, and QEMU reads the others as zeros.
    edit("l2-table-cut-in-an-entry", "v3", |image| {
        image.put(0x1280, &[0, 0, 0, 1, 0]);
        image.0.truncate(0x1285);
    }),
    edit("compressed-past-the-end", "compressed-zlib", |image| {
        image.put_u64(image.l2(), COMPRESSED | FAR);
    }),
    edit(
        "compressed-sectors-past-the-end",
        "compressed-zlib",
        |image| image.put_u64(image.l2(), COMPRESSED | 3 << 60 | 0x1401),
    ),
    edit("compressed-in-the-header", "compressed-zlib", |image| {
        image.put_u64(image.l2(), COMPRESSED | 0x80);
    }),
    edit("compressed-into-a-table", "compressed-zlib", |image| {
        image.put_u64(image.l2(), COMPRESSED | 1 << 60 | 0xbff);
    }),
    edit("compressed-and-copied", "compressed-zlib", |image| {
        image.put_u64(image.l2(), COMPRESSED | COPIED | 0x1400);
    }),
    edit("compressed-in-parts", "extended-l2", |image| {
        image.put_u64(image.l2(), COMPRESSED | 0x14000);
    }),
    edit("subcluster-both-data-and-zeros", "extended-l2", |image| {
        image.put_u64(image.l2() + 8, 1 << 32 | 1);
    }),
    edit("subclusters-nowhere", "extended-l2", |image| {
        image.put_u64(image.l2(), 0);
    }),
    edit("subclusters-of-a-zero-cluster", "extended-l2", |image| {
        image.put_u64(image.l2(), image.u64_at(image.l2()) | 1);
    }),
];
