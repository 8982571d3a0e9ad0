use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use super::{Allowlist, Refused, Upstream};

/// The CONNECT proxy that is all a guest's network leads to.
#[derive(Debug, Clone)]
pub(super) struct Proxy(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    allowlist: Allowlist,
    upstream: Upstream,
    refused: Refused,
}

/// A guest gets this long to say where it wants to go.
const HEAD_TIME_OUT: Duration = Duration::from_secs(30);
/// And the destination this long to answer.
const CONNECT_TIME_OUT: Duration = Duration::from_secs(30);
/// A request's head is never longer, in bytes.
const LONGEST_HEAD: usize = 8 << 10;

impl Proxy {
    pub(super) fn new(allowlist: Allowlist, upstream: Upstream, refused: Refused) -> Self {
        Self(Arc::new(Rules {
            allowlist,
            upstream,
            refused,
        }))
    }

    /// Serves one connection of the guest to its end. What goes wrong in it is the guest's own affair:
    /// it is told, and logged.
    pub(super) async fn serve(&self, mut guest: impl AsyncRead + AsyncWrite + Unpin) {
        if let Err(error) = self.tunnel(&mut guest).await {
            tracing::debug!(%error, "a guest's connection ended");
        }
    }

    async fn tunnel(&self, guest: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let head = timeout(HEAD_TIME_OUT, read_head(guest)).await??;
        let (host, port) = match destination(&head) {
            Ok(destination) => destination,
            Err(refusal) => return refuse(guest, refusal).await,
        };
        let Some(reach) = self.0.allowlist.reach(&host, port) else {
            tracing::info!(?host, port, "a guest asked for a host that is not allowed");
            self.0.refused.not_allowed(&host, port);
            return refuse(guest, Refusal::NotAllowed).await;
        };
        let connecting = self.0.upstream.connect(&host, port, reach);
        let connected = timeout(CONNECT_TIME_OUT, connecting).await;
        let mut server = match connected.map_err(io::Error::from).flatten() {
            Ok(server) => server,
            Err(error) => {
                // Once: a guest may ask as often as it likes.
                if self.0.refused.unreachable() {
                    tracing::warn!(host, port, %error, "cannot reach a host that a guest may reach");
                }
                let inward = error.kind() == io::ErrorKind::PermissionDenied;
                return refuse(
                    guest,
                    if inward {
                        Refusal::NotAllowed
                    } else {
                        Refusal::Unreachable
                    },
                )
                .await;
            }
        };
        guest
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
        copy_bidirectional(guest, &mut server).await.map(drop)
    }
}

/// Why a guest's request is not carried out, as an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Malformed,
    NotConnect,
    NotAllowed,
    Unreachable,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::NotConnect => "405 Method Not Allowed",
            Self::NotAllowed => "403 Forbidden",
            Self::Unreachable => "502 Bad Gateway",
        }
    }
}

async fn refuse(guest: &mut (impl AsyncWrite + Unpin), refusal: Refusal) -> io::Result<()> {
    let status = refusal.status();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    guest.write_all(answer.as_bytes()).await?;
    guest.shutdown().await
}

/// Reads up to the empty line that ends a request's head. A client sends nothing after it before the
/// tunnel is open, so no byte of the tunnel is lost by reading ahead.
async fn read_head(guest: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    loop {
        if guest.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") || head.len() > LONGEST_HEAD {
            return Ok(head);
        }
    }
}

/// Where a CONNECT request wants to go.
fn destination(head: &[u8]) -> Result<(String, u16), Refusal> {
    if head.len() > LONGEST_HEAD {
        return Err(Refusal::Malformed);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Err(Refusal::Malformed),
    }
    if request.method != Some("CONNECT") {
        return Err(Refusal::NotConnect);
    }
    let authority = request.path.ok_or(Refusal::Malformed)?;
    let (host, port) = authority.rsplit_once(':').ok_or(Refusal::Malformed)?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Malformed);
    }
    let port = port.parse().map_err(|_| Refusal::Malformed)?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer_to(request: &[u8]) -> String {
        let proxy = Proxy::new(
            Allowlist::new(["registry.invalid", "localhost"]).unwrap(),
            Upstream::direct(),
            Refused::default(),
        );
        let (mut guest, host) = tokio::io::duplex(64 << 10);
        let served = tokio::spawn(async move { proxy.serve(host).await });
        guest.write_all(request).await.unwrap();
        let mut answer = String::new();
        guest.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn only_a_connect_to_an_allowed_host_gets_past() {
        for (request, answer) in [
            (
                "CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT registry.invalid:22 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT [::1]:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT localhost:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT registry.invalid:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 502 Bad Gateway",
            ),
            (
                "GET http://registry.invalid/ HTTP/1.1\r\n\r\n",
                "HTTP/1.1 405 Method Not Allowed",
            ),
            (
                "CONNECT registry.invalid HTTP/1.1\r\n\r\n",
                "HTTP/1.1 400 Bad Request",
            ),
            (
                "CONNECT registry.invalid:99999 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 400 Bad Request",
            ),
            (
                "CONNECT registry.invalid:+443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 400 Bad Request",
            ),
            (
                "CONNECT me:secret@registry.invalid:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT registry.invalid:443@evil.example:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT registry.invalid.:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            (
                "CONNECT registry.invalid:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                "HTTP/1.1 400 Bad Request",
            ),
            (
                "CONNECT http://registry.invalid:443 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 403 Forbidden",
            ),
            ("\x16\x03\x01 hello\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ] {
            assert_eq!(answer_to(request.as_bytes()).await, answer, "{request:?}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_off() {
        let endless = [
            b"CONNECT registry.invalid:443 HTTP/1.1\r\nX: ".as_slice(),
            &[b'a'; LONGEST_HEAD],
        ]
        .concat();
        assert_eq!(answer_to(&endless).await, "HTTP/1.1 400 Bad Request");
        // Also one that is over by the time that its length is seen.
        let long = [&endless[..], b"\r\n\r\n"].concat();
        assert_eq!(answer_to(&long).await, "HTTP/1.1 400 Bad Request");
    }
}
