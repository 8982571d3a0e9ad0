//! A proxy between a client and a real server that fails by a script.
//!
//! It speaks HTTP/1.1 over TCP on 127.0.0.1, and passes on what it need not change byte for byte: the client's
//! `Host` and signature are what the server sees.
//!
//! ```no_run
//! use store_testkit::faults::{Fault, FaultProxy, Kind, Requests, Script};
//!
//! let script = Script::new(7)
//!     .on(Requests::of(Kind::UploadPart).nth(2).times(3), Fault::slow_down())
//!     .on(Requests::of(Kind::RangedGet), Fault::CutShort { after: 1000 });
//! let proxy = FaultProxy::start("http://127.0.0.1:9000", script)?;
//! // … a client at work by way of `proxy.endpoint()`; then, that the faults really happened:
//! assert_eq!((proxy.injected(0), proxy.injected(1)), (3, 1));
//! # Ok::<(), std::io::Error>(())
//! ```

mod body;
mod connection;
mod fault;
mod head;
mod journal;
mod link;
mod proxy;
mod requests;
mod script;
mod stop;

pub use fault::Fault;
pub use journal::Seen;
pub use link::Link;
pub use proxy::FaultProxy;
pub use requests::{Kind, Requests};
pub use script::Script;
