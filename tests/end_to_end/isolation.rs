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
async fn a_guest_reaches_the_registries_and_no_other_host_and_a_flood_holds_no_install_up() {
    let host = Host::new();
    let settings = Settings::in_dirs(host.cache_dir(), python_image()).unwrap();
    let mut authorities = match &settings.ca_bundle {
        Some(path) => std::fs::File::open(path).map(tokio::fs::File::from_std),
        None => panic!("this host trusts nobody"),
    }
    .unwrap();
    let cache = SnapshotCache::builder().settings(settings).build().unwrap();
    let image = cache.image(Language::Python).await.unwrap();
    let registries = image.manifest().registry_hosts.clone();
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
        argv: ["python3", "-c", PROBE, &registries[0], &port.to_string()]
            .map(str::to_owned)
            .into(),
        network: Some(Allowlist::new(registries.iter().chain([&inward])).unwrap()),
        input: Some(&mut authorities),
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
        "the registry in capitals": "200",
        "tls to the registry": "spoken",
        "the registry on another port": "403",
        "the registry with a name and a password": "403",
        "the registry as somebody else's user": "403",
        "another host": "403",
        "a host below the registry": "403",
        "an address": "403",
        "an address of version 6": "403",
        "the metadata service": "403",
        "the metadata service of version 6": "403",
        "this host by its own address": "403",
        "this host by no address": "403",
        "this host by an address of version 6": "403",
        "this host by a mapped address": "403",
        "an allowed name that leads inward": "403",
        "a request that is no connect": "405",
        "a request behind a request": "400",
        "a head that is too long": "400",
        "the proxy's other ports": "unreachable",
        "this host's listener by the gateway": "unreachable",
        "an address of the internet": "unreachable",
        "the metadata service, directly": "unreachable",
        "name service": "unreachable",
        "udp to the gateway": "unreachable",
        "udp to the internet": "unreachable",
        "udp to everybody": "unreachable",
        "udp to many": "unreachable",
        "version 6 to a neighbour": "unreachable",
        "version 6 to the internet": "unreachable",
        "the internet by a route of the guest's own": "unreachable",
        "udp by a route of the guest's own": "unreachable",
        "the metadata service as a neighbour": "unreachable",
        "an install in the middle of a flood": "installed",
    });
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&err));
    let visited = secret.accept().map(drop).unwrap_err();
    assert_eq!(visited.kind(), std::io::ErrorKind::WouldBlock);
}
