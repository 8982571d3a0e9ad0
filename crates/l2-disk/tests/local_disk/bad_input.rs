//! What has no business in the directory: a miss or a clear error, and nothing else is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use cache_layer::{CacheLayer, LayerErrorKind, MAX_MANIFEST_BYTES};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::host::{Host, REQUESTS};

const OTHER: &str = "idna==3.7";

#[tokio::test]
async fn a_directory_in_an_entrys_place_is_a_miss_stays_and_is_named_when_something_is_to_be_stored()
 {
    let host = Host::new();
    host.put(OTHER).await;
    fs::create_dir(host.entry()).unwrap();
    fs::write(host.entry().join("precious"), "x").unwrap();
    assert!(!host.get().await.is_hit());
    let error = host.layer.put(&host.built()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&host.entry().display().to_string()),
        "{error}"
    );
    assert!(host.entry().join("precious").exists());
    assert!(!host.sidecar().exists());
    assert!(host.get_of(OTHER).await.is_hit());
}

#[tokio::test]
async fn a_link_in_an_entrys_place_is_a_miss_and_leads_nowhere() {
    let host = Host::new();
    let target = host.dir.path().join("precious");
    host.overlay(&target);
    symlink(&target, host.entry()).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(target.exists());
    host.put(REQUESTS).await;
    assert!(host.get().await.is_hit());
    assert!(!host.entry().is_symlink());
}

#[tokio::test]
async fn a_pipe_in_an_entrys_or_a_manifests_place_holds_nobody_up() {
    let host = Host::new();
    let pipe = |at: &std::path::Path| mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0).unwrap();
    pipe(&host.entry());
    assert!(!host.get().await.is_hit());
    host.put(REQUESTS).await;
    fs::remove_file(host.sidecar()).unwrap();
    pipe(&host.sidecar());
    let staging = host.layer.staging().unwrap();
    let error = host.layer.get(&host.spec(), staging).await.unwrap_err();
    assert!(error.to_string().contains("look at the entry"), "{error}");
    assert!(host.entry().exists());
}

#[tokio::test]
async fn a_manifest_that_is_none_is_a_miss_and_only_its_entry_is_removed() {
    let long = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
    for manifest in [&b"not JSON"[..], b"", b"{}", b"\xff\xfe", b"null", &long] {
        let host = Host::new();
        host.put(OTHER).await;
        host.put(REQUESTS).await;
        fs::write(host.sidecar(), manifest).unwrap();
        assert!(!host.get().await.is_hit());
        assert!(!host.entry().exists() && !host.sidecar().exists());
        assert!(host.get_of(OTHER).await.is_hit());
    }
}

#[tokio::test]
async fn a_manifest_of_a_gigabyte_is_not_read() {
    let host = Host::new();
    host.put(REQUESTS).await;
    let sidecar = fs::File::options().write(true).open(host.sidecar());
    sidecar.unwrap().set_len(1 << 30).unwrap();
    let before = peak_memory();
    assert!(!host.get().await.is_hit());
    assert!(peak_memory() < before + (256 << 20));
}

/// The most memory that this process has ever had, in bytes, by a count that may lag behind.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn an_entry_of_a_newer_release_is_a_miss_and_is_left_alone() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    let json = fs::read_to_string(host.sidecar()).unwrap();
    fs::write(
        host.sidecar(),
        json.replace("\"format_version\": 1", "\"format_version\": 99"),
    )
    .unwrap();
    assert!(!host.get().await.is_hit());
    assert!(host.entry().exists() && host.sidecar().exists());
}

#[tokio::test]
async fn what_cannot_be_checked_for_want_of_qemu_img_is_not_taken_in_and_says_what_to_install() {
    let host = Host::new();
    let layer = host.layer.clone().with_qemu_img("/nowhere/qemu-img");
    let error = layer.put(&host.built()).await.unwrap_err();
    let kind = LayerErrorKind::Unavailable { temporary: false };
    assert_eq!(error.kind(), kind);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("install the package qemu-utils"), "{cause}");

    // Nor is what lies there by hand, and it is not lost for it.
    host.overlay(&host.entry());
    let staging = host.layer.staging().unwrap();
    layer.get(&host.spec(), staging).await.unwrap_err();
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn a_check_that_was_killed_condemns_no_entry() {
    let host = Host::new();
    host.overlay(&host.entry());
    let killed = host.dir.path().join("qemu-img");
    fs::write(&killed, "#!/bin/sh\nkill -KILL $$\n").unwrap();
    fs::set_permissions(&killed, fs::Permissions::from_mode(0o755)).unwrap();
    let layer = host.layer.clone().with_qemu_img(&killed);
    let staging = host.layer.staging().unwrap();
    let error = layer.get(&host.spec(), staging).await.unwrap_err();
    let kind = LayerErrorKind::Unavailable { temporary: false };
    assert_eq!(error.kind(), kind);
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn an_overlay_whose_reference_counts_are_wrong_is_not_taken_in() {
    let host = Host::new();
    host.overlay(&host.entry());
    let mut bytes = fs::read(host.entry()).unwrap();
    // The first refcount block, at the third cluster: the L1 table counts as free.
    let block = u64::from_be_bytes(*bytes[0x10000..].first_chunk().unwrap()) as usize;
    bytes[block + 6..][..2].fill(0);
    fs::write(host.entry(), bytes).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists());
}
