//! What Prometheus gets to see, over loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::blocking;
use cache_layer_testkit::doubles::Noop;
use hierarchy::{Hierarchy, Tier};
use l2_disk::DiskLayer;
use snaptier::prometheus;

#[tokio::test]
async fn prometheus_sees_what_layers_and_builder_did() {
    let address = free_address();
    prometheus::serve(address).unwrap();
    let root = tempfile::tempdir().unwrap();
    let disk = DiskLayer::open(root.path()).unwrap();
    let staging = disk.staging().unwrap().clone();
    let cache = Hierarchy::new(
        [Tier::local(Arc::new(disk))],
        Arc::new(Noop::new()),
        staging,
    );
    let digest = ImageDigest::from_bytes([7; 32]);
    let base = BaseImage::new("/images/disk.qcow2", DiskFormat::Qcow2, digest);
    let packages = PackageSet::parse(Language::Python, ["a==1"]).unwrap();

    let asked = cache.get(&SnapshotSpec::new(base, packages)).await;
    asked.unwrap_err();

    let text = blocking(move || scrape(address)).await;
    for line in [
        // By the asker, and by the one who has the lock.
        r#"snaptier_calls_total{call="get",layer="l2-disk",outcome="miss"} 2"#,
        r#"snaptier_calls_total{call="build",layer="builder",outcome="host"} 1"#,
        r#"snaptier_call_seconds_count{call="get",layer="l2-disk"} 2"#,
        "# TYPE snaptier_call_seconds histogram",
        "# HELP snaptier_calls_total Gets, puts and builds, by what came of them",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line} in\n{text}"
        );
    }

    let twice = prometheus::serve(free_address()).unwrap_err();
    assert!(twice.to_string().starts_with("serve metrics at 127.0.0.1:"));
}

/// One that nobody listens at just now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer
}
