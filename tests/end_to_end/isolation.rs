//! What a guest can reach, tried from inside one: the hosts on its allowlist, through the proxy, and nothing
//! else.

use std::net::TcpListener;

use cache_key::{Language, PackageSet};
use serde_json::Value;
use snaptier::{Settings, SnapshotCache};
use vm_builder::GuestCommand;
use vm_builder::network::Allowlist;

use crate::host::{Host, python_image};

const PROBE: &str = include_str!("isolation/probe.py");

#[tokio::test]
async fn a_guest_reaches_the_registries_and_no_other_host() {
    let host = Host::new();
    let settings = Settings::in_dirs(host.cache_dir(), python_image()).unwrap();
    let cache = SnapshotCache::open(settings).unwrap();
    let image = cache.image(Language::Python).await.unwrap();
    let registry = image.manifest().registry_hosts[0].clone();
    // Something on this host that a guest would find if it could.
    let secret = TcpListener::bind("127.0.0.1:0").unwrap();
    secret.set_nonblocking(true).unwrap();
    let port = secret.local_addr().unwrap().port();

    let packages = PackageSet::empty(Language::Python);
    let answer = cache.get(&packages).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    // A name that is allowed, and leads back to this host.
    let inward = format!("localhost:{port}");
    let command = GuestCommand {
        argv: ["python3", "-c", PROBE, &registry, &port.to_string()]
            .map(str::to_owned)
            .into(),
        network: Some(Allowlist::new([&registry, &inward]).unwrap()),
        input: None,
        output: &mut |stream, bytes| {
            match stream {
                vm_builder::OutputStream::Stdout => out.extend_from_slice(bytes),
                vm_builder::OutputStream::Stderr => err.extend_from_slice(bytes),
            }
            Ok(())
        },
    };
    let exit = cache.run(&answer.snapshot, command).await.unwrap();
    assert!(exit.is_success(), "{}", String::from_utf8_lossy(&err));
    let found: Value = serde_json::from_slice(&out).unwrap();

    let expected = serde_json::json!({
        "the registry": "200",
        "tls to the registry": "spoken",
        "the registry on another port": "403",
        "another host": "403",
        "an address": "403",
        "the metadata service": "403",
        "an allowed name that leads inward": "403",
        "a request that is no connect": "405",
        "the proxy's other ports": "unreachable",
        "this host's listener by the gateway": "unreachable",
        "an address of the internet": "unreachable",
        "the metadata service, directly": "unreachable",
        "name service": "unreachable",
        "udp to the gateway": "unreachable",
        "udp to the internet": "unreachable",
    });
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&err));
    let visited = secret.accept().map(drop).unwrap_err();
    assert_eq!(visited.kind(), std::io::ErrorKind::WouldBlock);
}
