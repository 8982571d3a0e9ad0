//! What the layer would answer, without a snapshot's being fetched.

use std::fs;

use cache_key::{BaseImage, DiskFormat, ImageDigest, SnapshotSpec};
use cache_layer::{CacheLayer, LayerErrorKind};
use l3_remote::S3Keys;
use store_testkit::servers::S3sFs;

use crate::host::{Bucket, Host, tool};
use crate::place::{Place, layer, location};

#[tokio::test]
async fn a_hit_and_a_miss_are_told_from_the_manifest_and_nothing_is_staged() {
    let Some(place) = Place::on(&S3sFs) else {
        return;
    };
    let host = Host::new("base");
    let layer = place.layer();
    let spec = host.spec("a==1");
    let explained = layer.explain(&spec).await.unwrap();
    assert_eq!(explained.reason(), Some("absent"));
    let snapshot = host.snapshot("a==1");
    layer.put(&snapshot).await.unwrap();
    drop(snapshot);
    let explained = layer.explain(&spec).await.unwrap();
    assert!(explained.is_hit(), "{explained}");
    assert!(
        explained.to_string().contains("when it is fetched"),
        "{explained}"
    );
    assert_eq!(host.staging_files(), 0);
}

#[tokio::test]
async fn the_same_packages_over_another_base_image_are_told_with_its_digest() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    bucket.layer().put(&host.snapshot("a==1")).await.unwrap();
    let spec = host.spec("a==1");
    let other = ImageDigest::from_bytes([8; 32]);
    let other = BaseImage::new(&host.base, DiskFormat::Qcow2, other);
    let other = SnapshotSpec::new(other, spec.packages().clone());
    let explained = bucket.layer().explain(&other).await.unwrap();
    assert_eq!(explained.reason(), Some("other-base-image"));
    let digest = spec.base_image().digest().to_string();
    assert!(explained.to_string().contains(&digest), "{explained}");
    assert_eq!(explained.near().unwrap().key, spec.key());
}

#[tokio::test]
async fn an_object_of_another_request_and_one_without_a_manifest_are_told_apart() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let snapshot = host.snapshot("b==2");
    bucket.layer().put(&snapshot).await.unwrap();
    let spec = host.spec("a==1");
    bucket.place(&spec.key(), bucket.object(&snapshot));
    let explained = bucket.layer().explain(&spec).await.unwrap();
    assert_eq!(explained.reason(), Some("other-request"));
    assert!(explained.to_string().contains("`b==2`"), "{explained}");

    let plain = host.dir.path().join("plain.zst");
    let (from, to) = (snapshot.path().to_str().unwrap(), plain.to_str().unwrap());
    tool("zstd", &["-q", from, "-o", to]);
    bucket.place(&spec.key(), &plain);
    let explained = bucket.layer().explain(&spec).await.unwrap();
    assert_eq!(explained.reason(), Some("no-manifest"));
    let accepting = bucket.layer().with_accept_unmanifested(true);
    assert!(accepting.explain(&spec).await.unwrap().is_hit());
}

#[tokio::test]
async fn what_a_get_would_err_at_is_an_error_of_the_same_kind() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let spec = host.spec("a==1");
    let noise = host.dir.path().join("noise");
    fs::write(&noise, [7; 4096]).unwrap();
    bucket.place(&spec.key(), &noise);
    let error = bucket.layer().explain(&spec).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Corrupt);

    let Some(place) = Place::on(&S3sFs) else {
        return;
    };
    let error = place.without_bucket().explain(&spec).await.unwrap_err();
    assert!(error.to_string().contains("no such bucket"), "{error}");
    let refused = location(place.bucket.as_ref().unwrap(), "team/a").with_s3_keys(S3Keys {
        access: "somebody".to_owned(),
        secret: "else".to_owned(),
        session_token: None,
    });
    let error = layer(refused).explain(&spec).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Denied, "{error:?}");
}
