//! The guest's whole network: one Ethernet segment that ends in this process.
//!
//! QEMU hands the guest's frames over a socket (`-netdev stream`). A small TCP/IP stack
//! answers at 10.0.2.2 and offers exactly one service there, a CONNECT proxy on port 3128, which opens connections to the hosts on its [`Allowlist`] and to nothing else. There is no
//! route, no name service and no other port, so what is not allowed is not merely refused: there is
//! no path to it. TLS stays end to end between guest and registry.
//!
//! A guest can ask for much, and gets a share: 64 connections at once, each with buffers of a fixed size and
//! none idle for ever. Bytes are not counted; the build's time and its disk's size bound them. A name
//! that resolves to an inside address is refused, unless it is a package index that this host's operator named
//! by URL, or the operator's own proxy resolves it.

mod allowlist;
mod proxy;
mod refused;
mod stack;
mod upstream;

use std::net::Ipv4Addr;

use tokio::net::UnixStream;

pub use crate::index::{PackageIndex, PackageIndexError};
pub use allowlist::{Allowlist, AllowlistError};
pub use upstream::{Upstream, UpstreamError};

use proxy::Proxy;
pub(crate) use refused::Refused;

/// This side's address on the guest's segment.
pub(crate) const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The proxy's port at [`HOST_ADDRESS`].
pub(crate) const PROXY_PORT: u16 = 3128;
/// The guest's network card.
pub(crate) const GUEST_MAC: &str = "52:54:00:12:34:56";

/// What a guest is told to use as its proxy.
pub(crate) fn proxy_url() -> String {
    format!("http://{HOST_ADDRESS}:{PROXY_PORT}")
}

/// Serves the guest's network on `frames`, QEMU's end of which is a `-netdev stream`, until the guest
/// is gone, and notes in `refused` what it asked for in vain. Dropping the future closes every connection.
pub(crate) async fn serve(
    frames: UnixStream,
    allowlist: Allowlist,
    upstream: Upstream,
    refused: Refused,
) -> std::io::Result<()> {
    let proxy = Proxy::new(allowlist, upstream, refused);
    stack::serve(frames, move |connection| {
        let proxy = proxy.clone();
        async move { proxy.serve(connection).await }
    })
    .await
}
