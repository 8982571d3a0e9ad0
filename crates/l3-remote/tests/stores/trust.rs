//! Credentials, conditions, and objects that change while they are read.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use cache_layer::{CacheLayer, LayerErrorKind};
use l3_remote::S3Keys;
use store_testkit::faults::{Fault, FaultProxy, Kind, Requests, Script, Seen};
use store_testkit::servers::{S3sFs, SeaweedFs, StoreServer};

use crate::host::Host;
use crate::place::{Place, layer, location};

#[tokio::test]
async fn keys_that_the_store_does_not_know_are_told_as_denied_and_not_as_a_miss() {
    for server in [&S3sFs as &dyn StoreServer, &SeaweedFs] {
        let Some(place) = Place::on(server) else {
            continue;
        };
        let host = Host::new("base");
        let strange = location(place.bucket.as_ref().unwrap(), "").with_s3_keys(S3Keys {
            access: "nobody".to_owned(),
            secret: "nothing".to_owned(),
            session_token: None,
        });
        let layer = layer(strange);
        let got = layer.get(&host.spec("a==1"), &host.staging).await;
        let put = layer.put(&host.snapshot("a==1")).await;
        for error in [got.map(drop).unwrap_err(), put.map(drop).unwrap_err()] {
            assert_eq!(
                error.kind(),
                LayerErrorKind::Denied,
                "{server:?}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_as_temporary_and_not_as_a_miss() {
    let host = Host::new("base");
    // Nobody listens at the port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("s3://b?endpoint=http://{}", free.local_addr().unwrap());
    drop(free);
    let location = uri.parse::<l3_remote::RemoteLocation>().unwrap();
    let layer = layer(location.with_s3_keys(S3Keys {
        access: "a".to_owned(),
        secret: "s".to_owned(),
        session_token: None,
    }));
    let got = layer.get(&host.spec("a==1"), &host.staging).await;
    let error = got.map(drop).unwrap_err();
    let temporary = LayerErrorKind::Unavailable { temporary: true };
    assert_eq!(error.kind(), temporary, "{error:?}");
}

#[tokio::test]
async fn a_store_is_seen_once_to_keep_to_conditions_and_the_probe_is_gone_afterwards() {
    let Some(place) = Place::on(&S3sFs) else {
        return;
    };
    let host = Host::new("base");
    let bucket = place.bucket.as_ref().unwrap();
    let proxy = FaultProxy::start(&bucket.endpoint, Script::new(0)).unwrap();
    let layer = layer(location(&bucket.at(&proxy.endpoint()), "team/a"));
    let probes = |seen: &[Seen]| {
        seen.iter()
            .filter(|seen| seen.target.contains(".probe-"))
            .count()
    };
    layer.put(&host.snapshot("a==1")).await.unwrap();
    assert_eq!(
        probes(&proxy.seen()),
        3,
        "written, not written again, removed"
    );
    layer.put(&host.snapshot("b==1")).await.unwrap();
    assert_eq!(probes(&proxy.seen()), 3);
    let folder = place
        .dir
        .path()
        .join("data")
        .join(&bucket.name)
        .join("team/a/snapshots");
    assert_eq!(
        folder.read_dir().unwrap().count(),
        2,
        "two entries, and no probe"
    );
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_begun_anew_and_never_mixed() {
    let Some(place) = Place::on(&S3sFs) else {
        return;
    };
    let host = Host::new("base");
    let old = host.large_snapshot("a==1");
    let new = host.incompressible_snapshot("a==1", "24M");
    place.layer().put(&old).await.unwrap();
    let bucket = place.bucket.as_ref().unwrap();
    let object = |prefix| format!("{prefix}/snapshots/{}.qcow2.zst", new.key());
    layer(location(bucket, "aside")).put(&new).await.unwrap();
    let replacement = bucket.get(&object("aside")).unwrap().unwrap();
    // The first answer stops in its midst; what follows it waits, and meets the other object.
    let script = Script::new(0)
        .on(
            Requests::of(Kind::RangedGet),
            Fault::Stall { after: 4_000_000 },
        )
        .on(
            Requests::of(Kind::RangedGet).nth(2).times(2),
            Fault::Delay(Duration::from_secs(1)),
        );
    let proxy = Arc::new(FaultProxy::start(&bucket.endpoint, script).unwrap());
    let failing = layer(location(&bucket.at(&proxy.endpoint()), "team/a"));
    let spec = host.spec("a==1");
    let replace = async {
        let began = proxy.clone();
        let began = move || began.wait_until(Duration::from_secs(30), |seen| !seen.is_empty());
        assert!(tokio::task::spawn_blocking(began).await.unwrap());
        bucket.put(&object("team/a"), replacement).unwrap();
    };
    let (got, ()) = tokio::join!(failing.get(&spec, &host.staging), replace);
    let got = got.unwrap().hit().unwrap();
    assert!(fs::read(got.path()).unwrap() == fs::read(new.path()).unwrap());
    assert!(proxy.injected(0) == 1, "{:?}", proxy.counts());
}
