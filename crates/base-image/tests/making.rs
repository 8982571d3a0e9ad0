//! Images are really made here: from packages, with the host's own tools.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use base_image::{ImageError, ImageErrorKind, ImageStore, Installer, MakeOptions};
use cache_key::Language;
use cache_layer::NoProgress;

async fn make(dir: &Path, language: Language) -> base_image::Image {
    let store = ImageStore::new(dir).unwrap();
    let made = store
        .make(language, &MakeOptions::default(), &NoProgress)
        .await;
    made.unwrap_or_else(|error| panic!("{error}\n{}", error.output().unwrap_or_default()))
}

/// What is in `dir`, hidden or not.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = dir
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_image_is_made_whole_and_found_again_and_made_elsewhere_it_is_the_same() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = ImageStore::new(here.path()).unwrap();
    assert!(store.find(Language::Raw).await.unwrap().is_none());

    let image = make(here.path(), Language::Raw).await;
    let name = format!("raw-{}", image.manifest().digest.short());
    assert_eq!(names(here.path()), [name.as_str()]);
    assert_eq!(
        names(image.dir()),
        [
            "disk.qcow2",
            "disk.stat.json",
            "image.json",
            "initrd.img",
            "vmlinuz"
        ]
    );
    assert!(image.manifest().installer.is_none() && image.manifest().registry_hosts.is_empty());

    let found = store.find(Language::Raw).await.unwrap().unwrap();
    assert_eq!(found.base_image(), image.base_image());
    assert!(store.find(Language::Python).await.unwrap().is_none());

    let again = make(there.path(), Language::Raw).await;
    assert_eq!(
        again.manifest().digest,
        image.manifest().digest,
        "two hosts could not share snapshots"
    );

    // A disk that was written to is no longer the image.
    let disk = image.base_image().path().to_owned();
    let mut permissions = disk.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(&disk, permissions).unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&disk)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))
        .unwrap();
    let error = store.find(Language::Raw).await.unwrap_err();
    assert!(matches!(error, ImageError::Changed { .. }), "{error}");
    assert!(store.list().await.unwrap()[0].image.is_err());
}

#[tokio::test]
async fn a_making_that_is_given_up_leaves_no_process_and_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::new(dir.path()).unwrap();
    let options = MakeOptions::default();
    let making = store.make(Language::Raw, &options, &NoProgress);
    let outcome = tokio::time::timeout(Duration::from_secs(4), making).await;
    assert!(
        outcome.is_err(),
        "the image was made before it could be given up"
    );
    // The kernel ends what was started in its own time.
    let marker = dir.path().to_str().unwrap();
    for _ in 0..200 {
        if processes_with(marker).is_empty() && names(dir.path()).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("left: {:?} {:?}", processes_with(marker), names(dir.path()));
}

#[tokio::test]
async fn a_mirror_that_is_down_is_a_passing_matter_and_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::new(dir.path()).unwrap();
    // The discard service's port: nobody serves it.
    let options = MakeOptions {
        debian_mirror: Some("http://127.0.0.1:9/".to_owned()),
    };
    let made = store.make(Language::Raw, &options, &NoProgress).await;
    let error = made.unwrap_err();
    let said = error.output().unwrap_or_default();
    assert_eq!(error.kind(), ImageErrorKind::Temporary, "{error}\n{said}");
    assert!(names(dir.path()).is_empty());
}

/// The command lines of processes that work in `marker` or name it.
fn processes_with(marker: &str) -> Vec<String> {
    let processes = Path::new("/proc").read_dir().unwrap().flatten();
    let lines = processes.filter_map(|entry| {
        let dir = entry.path();
        dir.file_name()?.to_str()?.parse::<u32>().ok()?;
        let line = std::fs::read_to_string(dir.join("cmdline"))
            .ok()?
            .replace('\0', " ");
        let cwd = std::fs::read_link(dir.join("cwd")).ok()?;
        (line.contains(marker) || cwd.starts_with(marker)).then_some(line)
    });
    lines.collect()
}

#[tokio::test]
async fn a_javascript_image_has_its_installer_and_hosts_and_made_elsewhere_it_is_the_same() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = make(here.path(), Language::Javascript).await;
    let manifest = image.manifest();
    assert!(
        matches!(&manifest.installer, Some(Installer::Bun { program, .. }) if program.ends_with("/bun")),
        "{manifest:?}"
    );
    assert!(!manifest.registry_hosts.is_empty());
    assert!(
        manifest
            .registry_hosts
            .iter()
            .all(|host| host.contains('.') && !host.contains('/')),
        "{manifest:?}"
    );

    let again = make(there.path(), Language::Javascript).await;
    assert_eq!(
        again.manifest().digest,
        manifest.digest,
        "two hosts could not share snapshots"
    );
}
