use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use url::Url;

use super::allowlist::{Reach, is_inward};

/// How this host reaches the outside: directly, or through its own HTTP proxy.
#[derive(Debug, Clone, Default)]
pub struct Upstream(Option<HostProxy>);

/// An HTTP proxy that takes CONNECT.
#[derive(Clone)]
struct HostProxy {
    host: String,
    port: u16,
    authorization: Option<String>,
    /// Hosts that are reached directly all the same: exact names, or `.domain` for all below it.
    except: Vec<String>,
}

/// A proxy setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a proxy that can be used: write http://[USER:PASSWORD@]HOST:PORT")]
pub struct UpstreamError(String);

impl Upstream {
    /// Straight out, by this host's own name service and routes.
    #[must_use]
    pub fn direct() -> Self {
        Self(None)
    }

    /// Through the proxy at `url`, but for the hosts in `no_proxy` (`NO_PROXY`'s form: a comma-separated
    /// list of names, each also standing for everything below it; `*` for all).
    ///
    /// # Errors
    ///
    /// `url` is not an `http://` URL with a host.
    pub fn through(url: &str, no_proxy: &str) -> Result<Self, UpstreamError> {
        let bad = || UpstreamError(redacted(url));
        // curl's habit, which others follow: a proxy with no scheme is an HTTP one.
        let full = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let parsed = Url::parse(&full)
            .ok()
            .filter(|url| url.scheme() == "http")
            .ok_or_else(bad)?;
        let authorization = (!parsed.username().is_empty()).then(|| {
            let decode = |text: &str| percent_decode(text);
            let user = decode(parsed.username());
            let password = decode(parsed.password().unwrap_or_default());
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        let except = no_proxy
            .split(',')
            .map(|name| name.trim().trim_start_matches('.').to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        Ok(Self(Some(HostProxy {
            host: parsed.host_str().ok_or_else(bad)?.to_owned(),
            port: parsed.port_or_known_default().ok_or_else(bad)?,
            authorization,
            except,
        })))
    }

    /// What the environment says, as curl reads it: `HTTPS_PROXY`, `https_proxy`, `ALL_PROXY`,
    /// `all_proxy`, and `NO_PROXY`, `no_proxy`.
    ///
    /// # Errors
    ///
    /// The proxy named there cannot be used.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Self, UpstreamError> {
        let first = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| var(name))
                .find(|value| !value.trim().is_empty())
        };
        match first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) {
            Some(url) => Self::through(
                url.trim(),
                &first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
            ),
            None => Ok(Self::direct()),
        }
    }

    /// The host and the port of this host's own proxy, if it has one.
    #[must_use]
    pub fn proxy(&self) -> Option<(&str, u16)> {
        let proxy = self.0.as_ref()?;
        Some((&proxy.host, proxy.port))
    }

    /// Opens a connection to `host:port`, which may be as near as `reach` says, unless the host's own proxy is
    /// the one that connects.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        reach: Reach,
    ) -> io::Result<TcpStream> {
        match &self.0 {
            Some(proxy) if !proxy.is_exempt(host) => proxy.connect(host, port).await,
            _ => {
                // An IPv6 address stands in brackets in a URL, and without them in a look-up.
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let found = look_up(bare.to_owned(), port).await?;
                // What was looked at is what is connected to: there is no second look-up to lie to.
                TcpStream::connect(within(host, found, reach)?.as_slice()).await
            }
        }
    }
}

/// Look-ups that go on at once, of all machines. Each takes a thread of those that all files are read and written on.
static LOOK_UPS: Semaphore = Semaphore::const_new(32);

/// The host's addresses. A look-up cannot be given up: one that nobody waits for any more keeps its permit to its end.
async fn look_up(host: String, port: u16) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let permit = LOOK_UPS.acquire().await.map_err(io::Error::other)?;
    let looking = tokio::spawn(async move {
        let found = lookup_host((host.as_str(), port)).await;
        drop(permit);
        Ok(Vec::from_iter(found?).into_iter())
    });
    looking.await.map_err(io::Error::other)?
}

/// Those of a host's addresses that may be connected to.
fn within(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
    reach: Reach,
) -> io::Result<Vec<SocketAddr>> {
    let (refused, allowed): (Vec<_>, Vec<_>) =
        found.partition(|address| reach == Reach::Outside && is_inward(address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (false, _) => Ok(allowed),
        (true, Some(address)) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{host} resolves to {}, an inside address", address.ip()),
        )),
        (true, None) => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{host} has no address"),
        )),
    }
}

impl HostProxy {
    fn is_exempt(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.except.iter().any(|name| {
            name == "*"
                || host == *name
                || host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('.'))
        })
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let authorization = match &self.authorization {
            Some(value) => format!("Proxy-Authorization: {value}\r\n"),
            None => String::new(),
        };
        let request =
            format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let status = read_status(&mut stream).await?;
        if status == 200 {
            return Ok(stream);
        }
        Err(io::Error::other(format!(
            "the host's proxy answered {status} to CONNECT {host}:{port}"
        )))
    }
}

/// Reads a proxy's answer up to its empty line, a byte at a time: what follows is the tunnel's.
async fn read_status(stream: &mut TcpStream) -> io::Result<u16> {
    const LONGEST: usize = 8 << 10;
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST {
            return Err(io::Error::other("the host's proxy answers without end"));
        }
        head.push(stream.read_u8().await?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&head).map_err(io::Error::other)?;
    response
        .code
        .ok_or_else(|| io::Error::other("the host's proxy gives no status"))
}

fn percent_decode(text: &str) -> String {
    url::form_urlencoded::parse(format!("={}", text.replace('+', "%2B")).as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// The URL without what is secret in it.
fn redacted(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

impl std::fmt::Debug for HostProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostProxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> Result<Upstream, UpstreamError> {
        Upstream::from_env(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environments_proxy_is_taken_with_its_exceptions() {
        assert!(env(&[]).unwrap().0.is_none());
        assert!(env(&[("HTTPS_PROXY", " ")]).unwrap().0.is_none());
        let upstream = env(&[
            ("https_proxy", "http://user:p%40ss@proxy.example:3128"),
            ("NO_PROXY", "one.example, .two.example"),
        ]);
        let proxy = upstream.unwrap().0.unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        for exempt in [
            "one.example",
            "a.one.example",
            "TWO.example",
            "b.two.example",
        ] {
            assert!(proxy.is_exempt(exempt), "{exempt}");
        }
        for proxied in ["three.example", "none.example", "bone.example"] {
            assert!(!proxy.is_exempt(proxied), "{proxied}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let error = env(&[("HTTPS_PROXY", "socks5://me:secret@proxy.example:1080")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`…@proxy.example:1080` is not a proxy that can be used: write http://[USER:PASSWORD@]HOST:PORT"
        );
    }

    #[tokio::test]
    async fn a_name_that_resolves_inward_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = Upstream::direct()
            .connect("localhost", port, Reach::Outside)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        for host in ["localhost", "127.0.0.1"] {
            let upstream = Upstream::direct();
            let configured = upstream.connect(host, port, Reach::Anywhere);
            configured.await.unwrap();
        }
    }

    #[test]
    fn of_a_names_addresses_only_those_outside_are_connected_to() {
        let of = |addresses: &[&str], reach| {
            let addresses: Vec<SocketAddr> = addresses
                .iter()
                .map(|address| SocketAddr::new(address.parse().unwrap(), 443))
                .collect();
            within("a.example", addresses.into_iter(), reach)
                .map(|allowed| {
                    allowed
                        .iter()
                        .map(|address| address.ip().to_string())
                        .collect()
                })
                .map_err(|error: io::Error| error.kind())
        };
        let both = [
            "10.0.0.1",
            "1.1.1.1",
            "::1",
            "64:ff9b::a00:1",
            "2606:4700::1",
        ];
        let outside: Vec<_> = ["1.1.1.1", "2606:4700::1"].map(str::to_owned).into();
        assert_eq!(of(&both, Reach::Outside), Ok(outside));
        assert_eq!(
            of(&both, Reach::Anywhere).map(|all: Vec<String>| all.len()),
            Ok(5)
        );
        let inside = ["::ffff:127.0.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"];
        assert_eq!(
            of(&inside, Reach::Outside),
            Err(io::ErrorKind::PermissionDenied)
        );
        assert_eq!(of(&[], Reach::Outside), Err(io::ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn the_hosts_proxy_is_asked_for_a_tunnel_and_its_refusal_is_an_error() {
        for (answer, opened) in [
            ("200 OK", true),
            ("407 Proxy Authentication Required", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://u:p@{}", listener.local_addr().unwrap());
            let proxy = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                stream
                    .write_all(format!("HTTP/1.1 {answer}\r\n\r\nhello").as_bytes())
                    .await
                    .unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let tunnel = Upstream::through(&url, "")
                .unwrap()
                .connect("registry.example", 443, Reach::Outside)
                .await;
            let request = proxy.await.unwrap();
            assert!(
                request.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(
                request.contains("Proxy-Authorization: Basic dTpw\r\n"),
                "{request}"
            );
            assert_eq!(tunnel.is_ok(), opened);
            if let Ok(mut tunnel) = tunnel {
                let mut rest = String::new();
                tunnel.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "hello", "the tunnel's first bytes are not swallowed");
            }
        }
    }
}
