//! Files that `qemu-img` makes pass; each way of making one dangerous or damaged is refused by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use qcow2_header::{Compression, Qcow2Error, Qcow2Header, set_backing_file};

fn qemu_img(args: &[&str]) -> std::process::Output {
    let output = Command::new("qemu-img")
        .args(args)
        .output()
        .expect("qemu-img is installed");
    assert!(
        output.status.success(),
        "qemu-img {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A directory with a base image and an overlay of it that holds data.
struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    fn new(options: &str) -> Self {
        let disks = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (base, overlay) = (disks.path("base.qcow2"), disks.path("overlay.qcow2"));
        qemu_img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "4M"]);
        let base = base.to_str().unwrap();
        let overlay = overlay.to_str().unwrap();
        qemu_img(&[
            "create", "-q", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b", base, overlay,
        ]);
        let written = Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", "write -P 7 70k 300k", overlay])
            .output();
        assert!(written.expect("qemu-io is installed").status.success());
        disks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn overlay(&self) -> Vec<u8> {
        std::fs::read(self.path("overlay.qcow2")).unwrap()
    }
}

fn check(bytes: &[u8]) -> Result<Qcow2Header, Qcow2Error> {
    let header = Qcow2Header::read(Cursor::new(bytes))?;
    header.check_tables(Cursor::new(bytes))?;
    header.require_overlay()?;
    Ok(header)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn overlays_of_every_kind_that_qemu_makes_pass() {
    for options in [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=2M",
        "compression_type=zstd",
        "extended_l2=on",
        "refcount_bits=1",
        "refcount_bits=64",
    ] {
        let disks = Disks::new(options);
        let header = check(&disks.overlay()).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(header.virtual_bytes, 4 << 20, "{options}");
        let (path, format) = header.require_overlay().unwrap();
        assert_eq!(
            (path, format),
            (disks.path("base.qcow2").as_path(), "qcow2"),
            "{options}"
        );
        header.require_standalone().unwrap_err();
    }
}

#[test]
fn a_compressed_disk_with_no_backing_passes_as_a_standalone_one() {
    for (kind, compression) in [("zlib", Compression::Zlib), ("zstd", Compression::Zstd)] {
        let disks = Disks::new("compat=1.1");
        let (from, to) = (disks.path("overlay.qcow2"), disks.path("flat.qcow2"));
        let option = format!("compression_type={kind}");
        qemu_img(&[
            "convert",
            "-c",
            "-O",
            "qcow2",
            "-o",
            &option,
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ]);
        let bytes = std::fs::read(to).unwrap();
        let header = Qcow2Header::read(Cursor::new(&bytes)).unwrap();
        header.check_tables(Cursor::new(&bytes)).unwrap();
        header.require_standalone().unwrap();
        assert_eq!(header.compression, compression);
        assert!(matches!(
            header.require_overlay(),
            Err(Qcow2Error::Refused(_))
        ));
    }
}

#[test]
fn what_is_wrong_with_a_hostile_header_is_named() {
    let disks = Disks::new("compat=1.1");
    let good = disks.overlay();
    let end = good.len() as u64;
    type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: &[(&str, Edit<'_>, &str)] = &[
        (
            "magic",
            &|b| put(b, 0, b"QFI\0"),
            "the magic number is missing",
        ),
        (
            "version",
            &|b| put(b, 4, &9_u32.to_be_bytes()),
            "version 9 is neither 2 nor 3",
        ),
        ("empty", &|b| b.clear(), "the magic number is missing"),
        (
            "cut in the header",
            &|b| b.truncate(60),
            "ends in its header",
        ),
        (
            "cluster bits 8",
            &|b| put(b, 20, &8_u32.to_be_bytes()),
            "clusters of 2^8 bytes",
        ),
        (
            "cluster bits 31",
            &|b| put(b, 20, &31_u32.to_be_bytes()),
            "clusters of 2^31 bytes",
        ),
        (
            "header length 96",
            &|b| put(b, 100, &96_u32.to_be_bytes()),
            "a header length of 96",
        ),
        (
            "header length huge",
            &|b| put(b, 100, &0xffff_fff8_u32.to_be_bytes()),
            "a header length of 4294967288",
        ),
        (
            "disk size",
            &|b| put(b, 24, &u64::MAX.to_be_bytes()),
            "is too large",
        ),
        (
            "disk size past L1",
            &|b| put(b, 24, &(1_u64 << 50).to_be_bytes()),
            "does not map a disk",
        ),
        (
            "L1 huge",
            &|b| put(b, 36, &u32::MAX.to_be_bytes()),
            "is larger than 32 MiB",
        ),
        (
            "L1 outside",
            &|b| put(b, 40, &(1_u64 << 40).to_be_bytes()),
            "the L1 table at 0x10000000000 (8 bytes) ends past",
        ),
        (
            "L1 overflows",
            &|b| put(b, 40, &(u64::MAX << 16).to_be_bytes()),
            "the L1 table at 0xffffffffffff0000",
        ),
        (
            "L1 in the header",
            &|b| put(b, 40, &0_u64.to_be_bytes()),
            "the L1 table at 0x0 does not begin",
        ),
        (
            "L1 unaligned",
            &|b| put(b, 40, &0x3_0008_u64.to_be_bytes()),
            "the L1 table at 0x30008 does not begin",
        ),
        (
            "refcounts outside",
            &|b| put(b, 48, &(1_u64 << 40).to_be_bytes()),
            "the refcount table at 0x10000000000",
        ),
        (
            "refcounts none",
            &|b| put(b, 56, &0_u32.to_be_bytes()),
            "a refcount table of 0 bytes",
        ),
        (
            "refcounts huge",
            &|b| put(b, 56, &u32::MAX.to_be_bytes()),
            "or larger than 8 MiB",
        ),
        (
            "refcount order",
            &|b| put(b, 96, &7_u32.to_be_bytes()),
            "reference counts of 2^7 bits",
        ),
        (
            "refcount block outside",
            &|b| put(b, 0x10000, &(1_u64 << 40).to_be_bytes()),
            "the refcount block of entry 0 at 0x10000000000",
        ),
        (
            "L2 outside",
            &|b| put(b, 0x30000, &(1_u64 << 40 | 1 << 63).to_be_bytes()),
            "the L2 table of L1 entry 0 at 0x10000000000",
        ),
        (
            "L2 unaligned",
            &|b| put(b, 0x30000, &0x40200_u64.to_be_bytes()),
            "the L2 table of L1 entry 0 at 0x40200 does not begin",
        ),
        (
            "data outside",
            &|b| put(b, 0x40008, &(1_u64 << 40 | 1 << 63).to_be_bytes()),
            "cluster 1 of the L2 table at 0x40000 at 0x10000000000",
        ),
        (
            "compressed outside",
            &|b| put(b, 0x40008, &(1_u64 << 62 | 1 << 40).to_be_bytes()),
            "is compressed at 0x10000000000",
        ),
        (
            "cut in the data",
            &|b| b.truncate(0x50000),
            "lies past the end of the file",
        ),
        (
            "backing name long",
            &|b| put(b, 16, &1024_u32.to_be_bytes()),
            "a backing file name of 1024 bytes",
        ),
        (
            "backing name empty",
            &|b| put(b, 16, &0_u32.to_be_bytes()),
            "a backing file name of 0 bytes",
        ),
        (
            "backing name outside",
            &|b| put(b, 8, &0x10000_u64.to_be_bytes()),
            "the backing file name at 0x10000",
        ),
        (
            "backing name in the fields",
            &|b| put(b, 8, &8_u64.to_be_bytes()),
            "the backing file name at 0x8",
        ),
        (
            "extension overruns",
            &|b| put(b, 116, &u32::MAX.to_be_bytes()),
            "of 4294967295 bytes does not fit",
        ),
        (
            "no backing",
            &|b| put(b, 8, &0_u64.to_be_bytes()),
            "it has no backing file",
        ),
        (
            "encryption",
            &|b| put(b, 32, &1_u32.to_be_bytes()),
            "it is encrypted",
        ),
        (
            "LUKS",
            &|b| put(b, 32, &2_u32.to_be_bytes()),
            "it is encrypted",
        ),
        (
            "encryption unknown",
            &|b| put(b, 32, &3_u32.to_be_bytes()),
            "encryption method 3",
        ),
        (
            "internal snapshot",
            &|b| {
                put(b, 60, &1_u32.to_be_bytes());
                put(b, 64, &0x30000_u64.to_be_bytes());
            },
            "it holds 1 internal snapshots",
        ),
        (
            "dirty",
            &|b| put(b, 72, &1_u64.to_be_bytes()),
            "it was not closed",
        ),
        (
            "corrupt",
            &|b| put(b, 72, &2_u64.to_be_bytes()),
            "it is marked corrupt",
        ),
        (
            "external data",
            &|b| put(b, 72, &4_u64.to_be_bytes()),
            "its data is in an external file",
        ),
        (
            "unknown feature",
            &|b| put(b, 72, &0x8000_u64.to_be_bytes()),
            "unknown incompatible features, 0x8000",
        ),
        (
            "compression unflagged",
            &|b| put(b, 104, &[1]),
            "compression type 1 does not go with",
        ),
        (
            "compression unknown",
            &|b| {
                put(b, 72, &8_u64.to_be_bytes());
                put(b, 104, &[9]);
            },
            "compression type 9",
        ),
    ];
    for (what, edit, reason) in cases {
        let mut bytes = good.clone();
        edit(&mut bytes);
        let error = check(&bytes).map(drop).expect_err(what).to_string();
        assert!(error.contains(reason), "{what}: {error}");
    }
    assert_eq!(good.len() as u64, end);
}

#[test]
fn a_backing_file_that_is_named_by_more_than_a_path_is_refused() {
    let disks = Disks::new("compat=1.1");
    for (name, reason) in [
        ("json:{\"driver\":\"nbd\"}", "named by the protocol `json`"),
        ("nbd://127.0.0.1:10809/x", "named by the protocol `nbd`"),
        (
            "https://example.com/x.qcow2",
            "named by the protocol `https`",
        ),
        ("fat:rw:/", "named by the protocol `fat`"),
        ("a\0b", "has a NUL byte"),
    ] {
        let mut file = Cursor::new(disks.overlay());
        set_backing_file(&mut file, name, "qcow2").unwrap();
        let error = check(file.get_ref()).map(drop).unwrap_err().to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
    for (name, format, reason) in [
        ("/b", "", "format is ``"),
        ("/b", "luks", "format is `luks`"),
        ("/b", "vmdk", "format is `vmdk`"),
    ] {
        let mut file = Cursor::new(disks.overlay());
        set_backing_file(&mut file, name, format).unwrap();
        let error = check(file.get_ref()).map(drop).unwrap_err().to_string();
        assert!(error.contains(reason), "{format}: {error}");
    }
    for fine in ["/a/b:c", "./a:b", "a/b:c", "plain"] {
        let mut file = Cursor::new(disks.overlay());
        set_backing_file(&mut file, fine, "raw").unwrap();
        assert_eq!(
            check(file.get_ref()).unwrap().require_overlay().unwrap(),
            (Path::new(fine), "raw")
        );
    }
}

#[test]
fn a_backing_file_without_a_format_is_refused() {
    let disks = Disks::new("compat=1.1");
    let mut bytes = disks.overlay();
    // The first extension's type, made one that nobody knows.
    put(&mut bytes, 112, &0x1234_5678_u32.to_be_bytes());
    let error = check(&bytes).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("does not say its backing file's format"),
        "{error}"
    );
}

#[test]
fn qemu_follows_the_backing_file_that_was_set_and_finds_nothing_else_changed() {
    for options in ["compat=0.10", "compat=1.1", "extended_l2=on"] {
        let disks = Disks::new(options);
        let (overlay, elsewhere) = (
            disks.path("overlay.qcow2"),
            disks.path("a rather longer name for the base.qcow2"),
        );
        let before = disks.overlay();
        std::fs::rename(disks.path("base.qcow2"), &elsewhere).unwrap();
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&overlay)
            .unwrap();
        set_backing_file(&mut file, elsewhere.to_str().unwrap(), "qcow2").unwrap();
        drop(file);

        qemu_img(&["check", "-q", overlay.to_str().unwrap()]);
        let info = qemu_img(&["info", "--output=json", overlay.to_str().unwrap()]);
        let info = String::from_utf8(info.stdout).unwrap();
        assert!(
            info.contains(&format!(
                "\"backing-filename\": \"{}\"",
                elsewhere.display()
            )),
            "{info}"
        );
        assert!(
            info.contains("\"backing-filename-format\": \"qcow2\""),
            "{info}"
        );
        let after = disks.overlay();
        assert!(
            after[0x1000..] == before[0x1000..],
            "{options}: something past the header changed"
        );

        // And back: the same name gives the same bytes.
        let mut file = Cursor::new(after);
        set_backing_file(
            &mut file,
            disks.path("base.qcow2").to_str().unwrap(),
            "qcow2",
        )
        .unwrap();
        assert!(
            file.into_inner() == before,
            "{options}: setting the old name back is not the old file"
        );
    }
}

#[test]
fn a_backing_name_that_does_not_fit_changes_nothing() {
    let disks = Disks::new("cluster_size=512");
    for name in ["", &"x".repeat(400), &"x".repeat(1024)] {
        let mut file = Cursor::new(disks.overlay());
        assert!(matches!(
            set_backing_file(&mut file, name, "qcow2"),
            Err(Qcow2Error::Refused(_))
        ));
        assert!(file.into_inner() == disks.overlay());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), version in 2_u32..4) {
        if bytes.len() >= 8 {
            put(&mut bytes, 0, b"QFI\xfb");
            put(&mut bytes, 4, &version.to_be_bytes());
        }
        let _ = check(&bytes);
    }
}

#[test]
fn a_changed_or_cut_file_makes_nothing_panic_and_qemu_too_takes_what_passes_after_a_cut() {
    let disks = Disks::new("cluster_size=512");
    let good = disks.overlay();
    let path = disks.path("cut.qcow2");
    let cut = proptest::collection::vec((0..good.len(), any::<u8>()), 0..4);
    let cut = (cut, proptest::option::of(0..good.len()));
    proptest!(ProptestConfig::with_cases(1000), |((edits, length) in cut)| {
        let mut bytes = good.clone();
        for (at, byte) in &edits {
            bytes[*at] = *byte;
        }
        bytes.truncate(length.unwrap_or(good.len()));
        let passes = check(&bytes).is_ok();
        if passes && edits.is_empty() {
            std::fs::write(&path, &bytes).unwrap();
            qemu_img(&["check", "-q", "-f", "qcow2", path.to_str().unwrap()]);
        }
    });
}
