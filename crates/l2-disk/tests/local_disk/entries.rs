//! What is stored is found whole, and what is found is what was asked for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{CacheLayer, Disk, LayerErrorKind, Lookup, Snapshot};
use l2_disk::DiskLayer;

use crate::host::{Host, REQUESTS, overlay};

#[tokio::test]
async fn seed_05_nothing_there_is_a_miss() {
    assert!(!Host::new().get().await.is_hit());
}

#[tokio::test]
async fn seed_06_a_valid_qcow2_at_its_place_is_a_hit_with_its_path_and_gets_a_manifest() {
    let host = Host::new();
    host.overlay(&host.entry());
    let hit = host.get().await.hit().unwrap();
    assert_eq!(hit.path(), host.entry());
    assert_eq!(*hit.manifest().spec(), host.spec().canonical());
    assert!(host.sidecar().exists());
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn seed_07_a_missing_backing_file_is_a_miss_and_the_entry_is_removed() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    fs::remove_file(host.base()).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists() && !host.sidecar().exists());
}

#[tokio::test]
async fn seed_08_a_backing_file_that_is_not_the_base_image_is_a_miss_and_the_entry_is_removed() {
    let host = Host::new();
    let other = host.dir.path().join("other.qcow2");
    fs::copy(host.base(), &other).unwrap();
    overlay(&other, &host.entry());
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists());
}

#[tokio::test]
async fn seed_09_a_backing_file_that_is_the_base_image_is_a_hit_and_the_file_stays() {
    let host = Host::new();
    let link = host.dir.path().join("the same image by another name.qcow2");
    std::os::unix::fs::symlink(host.base(), &link).unwrap();
    overlay(&link, &host.entry());
    assert!(host.get().await.is_hit());
    assert!(host.entry().exists());
}

#[tokio::test]
async fn what_was_put_is_a_hit_with_the_same_bytes_and_survives_its_source() {
    let host = Host::new();
    let built = host.built();
    let bytes = fs::read(built.path()).unwrap();
    let stored = host.layer.put(&built).await.unwrap();
    assert_eq!(stored.path(), host.entry());
    assert!(built.path().exists(), "the source is left as it is");
    drop(built);
    let hit = host.get().await.hit().unwrap();
    assert_eq!(fs::read(hit.path()).unwrap(), bytes);
    assert_eq!(hit.manifest(), stored.manifest());

    host.layer.put(&host.built()).await.unwrap();
    assert!(host.get().await.is_hit(), "putting it again succeeds");
}

#[tokio::test]
async fn what_comes_from_another_file_system_is_copied() {
    let host = Host::new();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = elsewhere.path().join("made.qcow2");
    let made = host.disks.elsewhere(REQUESTS);
    fs::copy(made.path(), &file).unwrap();
    host.layer
        .put(&Snapshot::new(&file, made.manifest().clone()))
        .await
        .unwrap();
    fs::write(&file, "the source may change: it is nobody's business").unwrap();
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn an_entry_that_is_there_stays_when_the_same_snapshot_is_put_with_other_bytes() {
    let host = Host::new();
    host.put(REQUESTS).await;
    let inode = host.entry().metadata().unwrap().ino();
    let other = host.dir.path().join("built again.qcow2");
    host.overlay(&other);
    let virtual_bytes = host.built().manifest().disk().virtual_bytes;
    let disk = Disk::of_reader(fs::File::open(&other).unwrap(), virtual_bytes).unwrap();
    let again = Snapshot::new(&other, host.built().manifest().with_disk(disk));
    let stored = host.layer.put(&again).await.unwrap();
    assert_eq!(stored.manifest(), host.built().manifest());
    assert_eq!(
        host.entry().metadata().unwrap().ino(),
        inode,
        "somebody's overlay may stand on it"
    );
}

#[tokio::test]
async fn an_entry_in_use_is_not_removed_until_it_is_let_go() {
    let host = Host::new();
    let held = host.put(REQUESTS).await;
    let error = host.layer.remove(held.key()).await.unwrap_err();
    let kind = LayerErrorKind::Unavailable { temporary: true };
    assert_eq!(error.kind(), kind);
    assert!(error.to_string().ends_with("it is in use"), "{error}");
    assert!(host.get().await.is_hit());
    let key = held.key().clone();
    drop(held);
    host.layer.remove(&key).await.unwrap();
    assert!(!host.get().await.is_hit());
}

#[tokio::test]
async fn removing_removes_and_removing_what_is_not_there_succeeds() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    for _ in 0..2 {
        host.layer.remove(&host.spec().key()).await.unwrap();
        assert!(!host.entry().exists() && !host.sidecar().exists());
    }
    assert!(!host.get().await.is_hit());
}

#[tokio::test]
async fn a_snapshot_whose_bytes_are_not_those_of_its_manifest_is_not_taken_in() {
    let host = Host::new();
    let built = host.built();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(built.path())
        .unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    let error = host.layer.put(&built).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Corrupt);
    assert!(!host.entry().exists() && !host.sidecar().exists());
}

#[tokio::test]
async fn an_entry_that_was_changed_or_cut_or_is_no_qcow2_is_a_miss_and_is_removed() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |entry| fs::write(entry, "not a disk").unwrap(),
        |entry| fs::write(entry, b"").unwrap(),
        |entry| {
            let bytes = fs::read(entry).unwrap();
            fs::write(entry, &bytes[..bytes.len() - 100]).unwrap();
        },
        |entry| {
            let mut bytes = fs::read(entry).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1 << 4;
            bytes.extend([7; 4096]);
            fs::write(entry, bytes).unwrap();
        },
    ];
    for damage in damages {
        let host = Host::new();
        host.layer.put(&host.built()).await.unwrap();
        let mut permissions = host.entry().metadata().unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(host.entry(), permissions).unwrap();
        damage(&host.entry());
        assert!(!host.get().await.is_hit());
        assert!(!host.entry().exists());
    }
}

#[tokio::test]
async fn an_entry_with_the_manifest_of_another_request_is_a_miss_and_is_removed() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    let json = fs::read_to_string(host.sidecar()).unwrap();
    let other = PackageSet::parse(Language::Python, ["idna==3.7"]).unwrap();
    let other = SnapshotSpec::new(host.spec().base_image().clone(), other);
    let json = json
        .replace("requests==2.32.3", "idna==3.7")
        .replace(&host.spec().key().to_string(), &other.key().to_string());
    fs::write(host.sidecar(), json).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists());
}

#[tokio::test]
async fn an_entry_that_was_copied_to_another_directory_is_verified_and_taken() {
    let (host, other) = (Host::new(), tempfile::tempdir().unwrap());
    host.layer.put(&host.built()).await.unwrap();
    for file in [host.entry(), host.sidecar()] {
        fs::copy(&file, other.path().join(file.file_name().unwrap())).unwrap();
    }
    let layer = DiskLayer::open(other.path()).unwrap();
    assert!(
        layer
            .get(&host.spec(), layer.staging().unwrap())
            .await
            .unwrap()
            .is_hit()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_that_put_get_and_remove_see_whole_entries_or_none() {
    let host = Arc::new(Host::new());
    let built = host.built();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (host, built) = (host.clone(), built.clone());
            tokio::spawn(async move {
                for round in 0..20 {
                    match (number + round) % 4 {
                        0 => drop(host.layer.put(&built).await.unwrap()),
                        1 => match host.layer.remove(&host.spec().key()).await {
                            Ok(()) => {}
                            Err(in_use) => assert!(in_use.to_string().ends_with("in use")),
                        },
                        _ => {
                            if let Lookup::Hit(hit) = host.get().await {
                                assert_eq!(hit.manifest(), built.manifest());
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    host.layer.put(&built).await.unwrap();
    assert!(host.get().await.is_hit());
    assert_eq!(host.names(".changing"), [] as [&str; 0]);
}
