//! A process that is killed in the midst of an upload. This program is that process too, when it is called with
//! a store and a directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test says that it has run")]

#[path = "stores/host.rs"]
#[expect(dead_code, reason = "shared with the other test target")]
mod host;

use std::env;
use std::process::{Command, Stdio};
use std::time::Duration;

use cache_layer::CacheLayer;
use futures::TryStreamExt;
use l3_remote::{RemoteLayer, RemoteLocation};
use store_testkit::faults::{Fault, FaultProxy, Kind, Requests, Script, Seen};
use store_testkit::servers::{self, Bucket, S3sFs};

use host::Host;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match env::args()
        .nth(1)
        .filter(|argument| argument.contains("://"))
    {
        Some(uri) => runtime.block_on(upload(&uri)),
        None => {
            runtime.block_on(killing_it_in_mid_upload_leaves_nothing_that_looks_like_an_entry());
        }
    }
}

async fn upload(uri: &str) {
    let host = Host::new("base");
    let layer = RemoteLayer::new(uri.parse().unwrap()).unwrap();
    layer.put(&host.large_snapshot("a==1")).await.unwrap();
}

async fn killing_it_in_mid_upload_leaves_nothing_that_looks_like_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = servers::for_test(&S3sFs, dir.path()) else {
        return;
    };
    let bucket = server.make_bucket("killed").unwrap();
    // The last part is never answered, so that the upload is in its midst when the others are there.
    let script = Script::new(1).on(Requests::of(Kind::UploadPart).nth(3), Fault::Silence);
    let proxy = FaultProxy::start(&bucket.endpoint, script).unwrap();
    let behind = bucket.at(&proxy.endpoint());

    let mut child = Command::new(env::current_exe().unwrap())
        .arg(behind.remote_uri(""))
        .envs(behind.environment())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let in_its_midst = |seen: &[Seen]| {
        let parts = seen.iter().filter(|seen| seen.kind == Kind::UploadPart);
        parts.count() >= 3
    };
    let began = proxy.wait_until(Duration::from_secs(60), in_its_midst);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(began, "{:?}", proxy.counts());

    let host = Host::new("base");
    let layer = layer(&bucket);
    let entries: Vec<_> = layer.list().try_collect().await.unwrap();
    assert_eq!(entries, []);
    let got = layer.get(&host.spec("a==1"), &host.staging).await;
    assert!(!got.unwrap().is_hit());
    // And whoever comes next is not in the way of what was left.
    let snapshot = host.large_snapshot("a==1");
    layer.put(&snapshot).await.unwrap();
    let got = layer.get(&host.spec("a==1"), &host.staging).await;
    assert!(got.unwrap().is_hit());
    println!("killing it in mid-upload leaves nothing that looks like an entry ... ok");
}

fn layer(bucket: &Bucket) -> RemoteLayer {
    let location: RemoteLocation = bucket.remote_uri("").parse().unwrap();
    let keys = bucket.keys.as_ref().unwrap();
    RemoteLayer::new(location.with_s3_keys(l3_remote::S3Keys {
        access: keys.access.clone(),
        secret: keys.secret.clone(),
        session_token: None,
    }))
    .unwrap()
}
