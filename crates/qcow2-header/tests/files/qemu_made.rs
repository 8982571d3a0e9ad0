//! What QEMU's tools make on this host, whichever version they are.

use std::io::Cursor;

use qcow2_header::{Compression, Qcow2Error, Qcow2Header};

use crate::check;
use crate::qemu::{Disks, qemu_img, qemu_io};

#[test]
fn overlays_of_every_kind_that_qemu_makes_pass() {
    for options in [
        "compat=0.10",
        "compat=0.10,cluster_size=512",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=2M",
        "compression_type=zlib",
        "compression_type=zstd",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,cluster_size=2M",
        "extended_l2=on,preallocation=metadata",
        "lazy_refcounts=on",
        "lazy_refcounts=on,extended_l2=on",
        "refcount_bits=1",
        "refcount_bits=2",
        "refcount_bits=4",
        "refcount_bits=8",
        "refcount_bits=32",
        "refcount_bits=64",
        "size=1G",
        "size=2M,cluster_size=512",
    ] {
        let disks = Disks::new(options);
        let header = check(&disks.overlay()).unwrap_or_else(|error| panic!("{options}: {error}"));
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
fn an_overlay_passes_after_all_that_a_guest_and_qemu_do_to_it() {
    for options in ["cluster_size=512", "cluster_size=64k", "extended_l2=on"] {
        let disks = Disks::new(options);
        let path = disks.path("overlay.qcow2");
        let overlay = path.to_str().unwrap();
        let passes = |after: &str| {
            check(&disks.overlay()).unwrap_or_else(|error| panic!("{options}, {after}: {error}"));
        };
        for command in [
            "write -z 128k 64k",
            "write -z -u 1M 64k",
            "discard 64k 64k",
            "write -c -P 3 2M 64k",
            "write -P 4 2080k 1k",
            "write -P 5 4095k 1k",
        ] {
            qemu_io(&path, command);
            passes(command);
        }
        qemu_img(&["snapshot", "-c", "kept", overlay]);
        qemu_io(&path, "write -P 6 70k 1k");
        qemu_img(&["snapshot", "-d", "kept", overlay]);
        passes("a snapshot made and deleted");
        qemu_img(&["resize", "-q", overlay, "64M"]);
        qemu_io(&path, "write -P 8 60M 1k");
        passes("a resize");
        qemu_img(&["bitmap", "--add", overlay, "b"]);
        qemu_img(&["bitmap", "--remove", overlay, "b"]);
        passes("a bitmap made and removed");
        qemu_img(&[
            "amend",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "lazy_refcounts=on",
            overlay,
        ]);
        passes("an amendment");
    }
}

#[test]
fn what_qemu_makes_and_a_snapshot_must_not_hold_is_refused() {
    let refusal = |disks: &Disks| match check(&disks.overlay()) {
        Err(Qcow2Error::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let snapshot = Disks::new("compat=1.1");
    let overlay = snapshot.path("overlay.qcow2");
    qemu_img(&["snapshot", "-c", "kept", overlay.to_str().unwrap()]);
    assert_eq!(refusal(&snapshot), "it holds 1 internal snapshots");

    let bitmap = Disks::new("compat=1.1");
    let overlay = bitmap.path("overlay.qcow2");
    qemu_img(&["bitmap", "--add", overlay.to_str().unwrap(), "b"]);
    assert_eq!(refusal(&bitmap), "it holds persistent bitmaps");

    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().join("data.raw");
    let external = Disks::empty(&format!("data_file={}", data.display()));
    assert_eq!(refusal(&external), "its data is in an external file");

    // Not LUKS: making it takes QEMU seconds, and it gives up when the host is too busy to be timed.
    let encrypted = Disks::empty("compat=1.1");
    qemu_img(&[
        "create",
        "-q",
        "--object",
        "secret,id=key,data=abc",
        "-f",
        "qcow2",
        "-o",
        "encrypt.format=aes,encrypt.key-secret=key",
        encrypted.path("overlay.qcow2").to_str().unwrap(),
        "64k",
    ]);
    assert_eq!(refusal(&encrypted), "it is encrypted");
}

#[test]
fn a_disk_with_no_backing_passes_as_a_standalone_one() {
    for options in [
        "preallocation=off",
        "preallocation=metadata",
        "preallocation=falloc",
        "preallocation=full",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        let path = path.to_str().unwrap();
        for size in ["0", "1M"] {
            qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, path, size]);
            let bytes = std::fs::read(path).unwrap();
            let header = Qcow2Header::read(Cursor::new(&bytes)).unwrap();
            header.require_standalone().unwrap();
            let tables = header.check_tables(Cursor::new(&bytes));
            tables.unwrap_or_else(|error| panic!("{options} {size}: {error}"));
        }
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
