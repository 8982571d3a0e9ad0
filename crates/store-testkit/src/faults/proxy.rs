use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::connection;
use super::journal::Journal;
use super::script::Play;
use super::stop::Stop;
use super::{Kind, Link, Script, Seen};

/// A proxy at work. Dropping it ends every connection and returns when all its threads have ended.
#[derive(Debug)]
#[must_use = "the proxy ends as soon as this is dropped"]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: SocketAddr,
    pub(super) play: Play,
    pub(super) link: Link,
    pub(super) journal: Journal,
    pub(super) stop: Stop,
    /// Towards clients and towards the server. Weak, so that whoever serves one ends it by dropping it.
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

impl FaultProxy {
    /// Stands in front of the server at `http://HOST:PORT`, on loopback's own terms but for the script.
    ///
    /// # Errors
    ///
    /// `server` is no such address, or there is no port to be had.
    pub fn start(server: &str, script: Script) -> io::Result<Self> {
        Self::over(server, script, Link::default())
    }

    /// The same, over a longer way.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn over(server: &str, script: Script, link: Link) -> io::Result<Self> {
        let no_address = |_| {
            let why = format!("`{server}` is not of the form http://IP:PORT");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        let address = server.trim_start_matches("http://").trim_end_matches('/');
        let shared = Arc::new(Shared {
            server: address.parse().map_err(no_address)?,
            play: Play::new(script),
            link,
            journal: Journal::default(),
            stop: Stop::default(),
            streams: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let listening = {
            let shared = shared.clone();
            thread::Builder::new()
                .name("fault-proxy".into())
                .spawn(move || listen(&listener, &shared))?
        };
        Ok(Self {
            address,
            shared,
            listener: Some(listening),
        })
    }

    /// `http://127.0.0.1:PORT`, for the client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests that have come, in their order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.journal.seen()
    }

    /// How many requests of each kind have come.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for seen in self.seen() {
            *counts.entry(seen.kind).or_default() += 1;
        }
        counts
    }

    /// How many requests of one kind have come.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.counts().get(&kind).copied().unwrap_or_default()
    }

    /// How often the fault of the script's rule `rule` has happened; the first rule is 0.
    #[must_use]
    pub fn injected(&self, rule: usize) -> usize {
        let seen = self.seen();
        seen.iter()
            .filter(|seen| seen.is_injected && seen.rule == Some(rule))
            .count()
    }

    /// Waits until what has come is as `is_it` wants it. `false` when `patience` is over first.
    #[must_use = "it says whether it came to that"]
    pub fn wait_until(&self, patience: Duration, is_it: impl FnMut(&[Seen]) -> bool) -> bool {
        self.shared.journal.wait_until(patience, is_it)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.now();
        // The listener sees it when the next connection comes, which is this one.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for client in listener.incoming() {
            if shared.stop.is_now() {
                break;
            }
            let Ok(client) = client.and_then(|client| shared.keep(client)) else {
                continue;
            };
            scope.spawn(move || connection::serve(&client, shared));
        }
        shared.end_streams();
    });
}

impl Shared {
    /// A connection that ends when the proxy does.
    pub(super) fn keep(&self, stream: TcpStream) -> io::Result<Arc<TcpStream>> {
        stream.set_nodelay(true)?;
        let stream = Arc::new(stream);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&stream));
        drop(streams);
        // It may have come too late for the end to see it.
        if self.stop.is_now() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(stream)
    }

    fn end_streams(&self) {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
