use std::fs;
use std::sync::Arc;

use cache_layer::{CacheLayer, LayerErrorKind};
use cache_layer_testkit::Workshop;
use cache_layer_testkit::conformance::{
    a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none,
    a_store_that_cannot_be_used_is_an_error_and_no_miss,
};
use http_layer::HttpLayer;
use hyper::StatusCode;

use crate::server::Server;

#[test]
fn a_process_that_is_killed_in_an_upload_leaves_the_whole_object_or_none() {
    let path = concat!(
        module_path!(),
        "::a_process_that_is_killed_in_an_upload_leaves_the_whole_object_or_none"
    );
    let server = Server::start();
    let kept =
        a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none(path, move |root| {
            // The process that is killed has a server of its own, and is to use ours.
            let place = root.join("url");
            let url = fs::read_to_string(&place).unwrap_or_else(|_| {
                fs::write(&place, server.url()).unwrap();
                server.url().to_owned()
            });
            HttpLayer::new(&url).unwrap()
        });
    kept.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_fails_or_is_not_there_is_no_empty_one() {
    let gone = {
        let server = Server::start();
        server.url().to_owned()
    };
    let gone = Arc::new(HttpLayer::new(&gone).unwrap());
    a_store_that_cannot_be_used_is_an_error_and_no_miss(gone)
        .await
        .unwrap();
    let temporary = |temporary| LayerErrorKind::Unavailable { temporary };
    for (status, kind) in [
        (StatusCode::FORBIDDEN, LayerErrorKind::Denied),
        (StatusCode::UNAUTHORIZED, LayerErrorKind::Denied),
        (StatusCode::SERVICE_UNAVAILABLE, temporary(true)),
        (StatusCode::TOO_MANY_REQUESTS, temporary(true)),
        (StatusCode::BAD_REQUEST, temporary(false)),
        (StatusCode::INSUFFICIENT_STORAGE, LayerErrorKind::OutOfSpace),
    ] {
        let server = Server::answering(Some(status));
        let workshop = Workshop::new().unwrap();
        let key = workshop.spec("a==1").key();
        let error = server.layer().remove(&key).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.to_string().contains(status.as_str()), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_object_is_corrupt_and_removed() {
    let (server, workshop) = (Server::start(), Workshop::new().unwrap());
    let (layer, spec) = (server.layer(), workshop.spec("a==1"));
    let object = server.dir.path().join(spec.key().to_string());
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 5] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.push(0),
        |bytes| bytes[20] ^= 0x80,
        |bytes| bytes[7] = 1,
    ];
    for damage in damages {
        layer.put(&workshop.snapshot(&spec).unwrap()).await.unwrap();
        let mut bytes = fs::read(&object).unwrap();
        damage(&mut bytes);
        fs::write(&object, bytes).unwrap();
        let error = layer.get(&spec, workshop.staging()).await.map(drop);
        assert_eq!(error.unwrap_err().kind(), LayerErrorKind::Corrupt);
        assert!(!object.exists());
        assert_eq!(workshop.staged_files().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn another_host_gets_the_snapshot_over_its_own_base_image() {
    let server = Server::start();
    let (here, there) = (Workshop::new().unwrap(), Workshop::new().unwrap());
    let made = here.snapshot(&here.spec("a==1")).unwrap();
    server.layer().put(&made).await.unwrap();
    let spec = there.spec("a==1");
    let got = server.layer().get(&spec, there.staging()).await.unwrap();
    let got = got.hit().unwrap();
    let header = qcow2_header::Qcow2Header::read(fs::File::open(got.path()).unwrap()).unwrap();
    assert_eq!(
        header.require_overlay().unwrap().0,
        spec.base_image().path()
    );
}

#[test]
fn a_password_in_the_address_is_not_printed() {
    let layer = HttpLayer::new("https://me:secret@example.org/cache/").unwrap();
    assert_eq!(layer.to_string(), "http(https://example.org/cache)");
}
