//! What guests trust and how this host leads them out.

use std::time::Duration;

use snaptier::Settings;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::Finding;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// A proxy that takes longer to take a connection is as good as none.
const CONNECTING: Duration = Duration::from_secs(5);

pub(crate) async fn ca_bundle(settings: &Settings) -> Finding {
    const CHECK: &str = "ca bundle";
    let Some(path) = settings.ca_bundle.clone() else {
        return Finding::ok(CHECK, "none: guests trust what their image does");
    };
    let name = path.display().to_string();
    let read = cache_layer::blocking(move || std::fs::read(path)).await;
    judge_ca_bundle(CHECK, &name, read.map_err(|error| error.to_string()))
}

fn judge_ca_bundle(check: &str, name: &str, read: Result<Vec<u8>, String>) -> Finding {
    let remedy = "name a file of certificates in PEM form with --ca-bundle, SNAPTIER_CA_BUNDLE or SSL_CERT_FILE";
    match read.map(|bytes| String::from_utf8_lossy(&bytes).matches(CERTIFICATE).count()) {
        Ok(0) => Finding::failed(check, format!("`{name}` has no certificate in it"), remedy),
        Ok(count) => Finding::ok(check, format!("`{name}`: {count} certificates")),
        Err(why) => Finding::failed(check, format!("`{name}` cannot be read: {why}"), remedy),
    }
}

pub(crate) async fn proxy(settings: &Settings) -> Finding {
    const CHECK: &str = "host proxy";
    let Some((host, port)) = settings.upstream.proxy() else {
        return Finding::ok(CHECK, "none: registries are reached directly");
    };
    let connected = match timeout(CONNECTING, TcpStream::connect((host, port))).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECTING.as_secs())),
    };
    match connected {
        Ok(()) => Finding::ok(CHECK, format!("{host}:{port} takes connections")),
        Err(why) => Finding::failed(
            CHECK,
            format!("{host}:{port} takes no connection: {why}"),
            "see to HTTPS_PROXY, ALL_PROXY and NO_PROXY: guests reach the registries through it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use vm_builder::network::Upstream;

    use super::super::finding::{Status, assert_judged};
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_no_bundle() {
        let two = CERTIFICATE.repeat(2).into_bytes();
        for (read, status, word) in [
            (Ok(two), Status::Ok, "2 certificates"),
            (Ok(b"hello".to_vec()), Status::Failed, "no certificate"),
            (
                Err("No such file".to_owned()),
                Status::Failed,
                "--ca-bundle",
            ),
        ] {
            assert_judged(&judge_ca_bundle("ca bundle", "/b.pem", read), status, word);
        }
    }

    #[tokio::test]
    async fn the_hosts_proxy_is_asked_for_a_connection() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = Settings::in_dirs(dir.path(), dir.path()).unwrap();
        settings.upstream = Upstream::through(&format!("http://{address}"), "").unwrap();
        assert_judged(&proxy(&settings).await, Status::Ok, "takes connections");
        drop(listener);
        assert_judged(&proxy(&settings).await, Status::Failed, "HTTPS_PROXY");
    }
}
