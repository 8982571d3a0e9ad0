use std::fs;

use cache_layer::{CacheLayer, LayerErrorKind, Snapshot};
use futures::TryStreamExt;
use l3_remote::RemoteLayer;

use crate::host::{Host, tool};
use crate::place::Place;

async fn assert_comes_back(layer: &RemoteLayer, host: &Host, package: &str, put: &Snapshot) {
    let got = layer.get(&host.spec(package), &host.staging).await.unwrap();
    let got = got.hit().expect("it was put");
    assert!(
        fs::read(got.path()).unwrap() == fs::read(put.path()).unwrap(),
        "{layer}"
    );
    assert_eq!(got.manifest(), put.manifest());
}

pub(super) async fn what_takes_several_parts_comes_back_byte_by_byte(place: &Place) {
    let host = Host::new("base");
    let snapshot = host.large_snapshot("a==1");
    place.layer().put(&snapshot).await.unwrap();
    let stat = place.layer().stat(snapshot.key()).await.unwrap().unwrap();
    assert!(stat.entry.bytes > 16 << 20, "{}", stat.entry.bytes);
    assert_comes_back(&place.layer_elsewhere(), &host, "a==1", &snapshot).await;
}

pub(super) async fn storing_it_again_leaves_one_object(place: &Place) {
    let host = Host::new("base");
    let snapshot = host.snapshot("a==1");
    let layer = place.layer();
    layer.put(&snapshot).await.unwrap();
    layer.put(&snapshot).await.unwrap();
    place.layer_elsewhere().put(&snapshot).await.unwrap();
    let listed: Vec<_> = layer.list().try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_comes_back(&layer, &host, "a==1", &snapshot).await;
}

pub(super) async fn seed_15_a_bucket_that_does_not_exist_is_told_with_its_remedy(place: &Place) {
    let layer = place.without_bucket();
    let host = Host::new("base");
    let got = layer.get(&host.spec("a==1"), &host.staging).await;
    let put = layer.put(&host.snapshot("a==1")).await;
    let listed = layer.list().try_collect::<Vec<_>>().await;
    for error in [
        got.map(drop).unwrap_err(),
        put.map(drop).unwrap_err(),
        listed.map(drop).unwrap_err(),
    ] {
        assert_eq!(
            error.kind(),
            LayerErrorKind::Unavailable { temporary: false },
            "{error:?}"
        );
        let told = error.to_string();
        assert!(told.contains("no such bucket; make it, or name"), "{told}");
    }
}

pub(super) async fn entries_are_listed_looked_at_verified_and_removed(place: &Place) {
    let host = Host::new("base");
    let layer = place.layer();
    let snapshots = [host.snapshot("a==1"), host.snapshot("b==1")];
    let nothing: Vec<_> = layer.list().try_collect().await.unwrap();
    assert_eq!(nothing, []);
    for snapshot in &snapshots {
        layer.put(snapshot).await.unwrap();
    }
    let mut listed: Vec<_> = layer.list().try_collect().await.unwrap();
    listed.sort_by(|one, other| one.key.cmp(&other.key));
    let mut keys: Vec<_> = snapshots.iter().map(|s| s.key().clone()).collect();
    keys.sort();
    let listed_keys: Vec<_> = listed.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(listed_keys, keys);

    let key = snapshots[0].key();
    let stat = layer.stat(key).await.unwrap().unwrap();
    assert_eq!(stat.manifest.as_ref(), Some(&**snapshots[0].manifest()));
    let entry = listed.iter().find(|entry| entry.key == *key).unwrap();
    assert_eq!(stat.entry.bytes, entry.bytes);
    let verified = layer.verify(key, &host.staging).await.unwrap().unwrap();
    assert_eq!(verified, **snapshots[0].manifest());
    assert_eq!(host.staging_files(), 2, "nothing is kept of it");

    layer.remove(key).await.unwrap();
    assert_eq!(layer.stat(key).await.unwrap(), None);
    assert_eq!(layer.verify(key, &host.staging).await.unwrap(), None);
}

pub(super) async fn a_damaged_object_is_corrupt_and_the_next_upload_replaces_it(place: &Place) {
    let host = Host::new("base");
    let snapshot = host.snapshot("a==1");
    let layer = place.layer();
    layer.put(&snapshot).await.unwrap();
    place.flip_a_bit_of(snapshot.key());
    let spec = host.spec("a==1");
    let error = layer.get(&spec, &host.staging).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Corrupt, "{error:?}");
    assert_eq!(host.staging_files(), 1);
    layer.put(&snapshot).await.unwrap();
    assert_comes_back(&layer, &host, "a==1", &snapshot).await;
}

pub(super) async fn two_hosts_with_different_base_images_share_what_either_puts(place: &Place) {
    let here = Host::new("base");
    let there = Host::new("the base image of another host");
    place.layer().put(&here.snapshot("a==1")).await.unwrap();
    let elsewhere = place.layer_elsewhere();
    elsewhere.put(&there.snapshot("b==1")).await.unwrap();
    for (layer, host, package) in [
        (&place.layer(), &here, "b==1"),
        (&elsewhere, &there, "a==1"),
    ] {
        let got = layer.get(&host.spec(package), &host.staging).await.unwrap();
        let got = got.hit().unwrap();
        let path = got.path().to_str().unwrap();
        tool("qemu-img", &["check", "-q", path]);
        let mine = host.snapshot(package);
        let mine = mine.path().to_str().unwrap();
        tool(
            "qemu-img",
            &["compare", "-q", "-f", "qcow2", "-F", "qcow2", mine, path],
        );
    }
}
