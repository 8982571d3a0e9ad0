//! Everything is read, and held against what it should be.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use l2_disk::{Audit, Audited};

use crate::host::{Host, REQUESTS};

async fn verify(host: &Host) -> Audited {
    let key = host.spec().key();
    host.layer.verify(&key, &Audit::default()).await.unwrap()
}

/// Changes a byte of the data and leaves no trace of it in the file's times.
fn rot(path: &Path) {
    let modified = path.metadata().unwrap().modified().unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    file.write_all_at(&[8], path.metadata().unwrap().len() - 5)
        .unwrap();
    file.set_modified(modified).unwrap();
}

#[tokio::test]
async fn a_sound_entry_is_told_sound_and_what_is_not_there_absent() {
    let host = Host::new();
    assert_eq!(verify(&host).await, Audited::Absent);
    host.put(REQUESTS).await;
    assert_eq!(verify(&host).await, Audited::Sound);
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn a_byte_that_rotted_unseen_is_found_and_the_entry_is_removed() {
    let host = Host::new();
    host.put(REQUESTS).await;
    rot(&host.entry());
    assert!(host.get().await.is_hit(), "a hit reads no data");
    let told = Audited::Unusable("its bytes are not those of its manifest".to_owned());
    assert_eq!(verify(&host).await, told);
    assert!(!host.entry().exists() && !host.sidecar().exists());
    assert!(!host.get().await.is_hit());
}

#[tokio::test]
async fn an_entry_that_was_copied_here_is_as_sound_as_its_bytes() {
    let host = Host::new();
    host.put(REQUESTS).await;
    let copy = host.entry().with_extension("copy");
    fs::copy(host.entry(), &copy).unwrap();
    fs::rename(&copy, host.entry()).unwrap();
    assert_eq!(verify(&host).await, Audited::Sound);
    assert!(host.get().await.is_hit());

    rot(&host.entry());
    assert!(matches!(verify(&host).await, Audited::Unusable(_)));
}

#[tokio::test]
async fn a_base_image_that_changed_makes_its_snapshots_unusable() {
    let host = Host::new();
    host.put(REQUESTS).await;
    rot(host.base());
    let Audited::Unusable(why) = verify(&host).await else {
        panic!("it was told sound");
    };
    assert!(why.contains("is not the base image"), "{why}");
    assert!(!host.entry().exists());
}

#[tokio::test]
async fn an_entry_put_there_by_hand_has_no_manifest_to_be_held_against() {
    let host = Host::new();
    host.overlay(&host.entry());
    assert_eq!(verify(&host).await, Audited::NoManifest);
    assert!(host.get().await.is_hit());
    assert_eq!(verify(&host).await, Audited::Sound);
}
