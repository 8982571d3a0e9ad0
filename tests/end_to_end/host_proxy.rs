//! A proxy on this host that a cache reaches the registries through, and that can be told to fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// It is gone when this is dropped.
pub(crate) struct HostProxy {
    address: SocketAddr,
    gate: Arc<Gate>,
    _served: AbortOnDropHandle<()>,
}

#[derive(Default)]
pub(crate) struct Gate {
    is_open: AtomicBool,
    refused: AtomicUsize,
    passed: AtomicUsize,
}

impl HostProxy {
    /// A proxy that refuses everybody until its gate is opened: every second one by hanging up.
    pub(crate) async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate::default());
        let served = tokio::spawn(serve(listener, gate.clone()));
        Self {
            address,
            gate,
            _served: AbortOnDropHandle::new(served),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, gate: Arc<Gate>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::spawn(tunnel(client, gate.clone()));
    }
}

async fn tunnel(client: TcpStream, gate: Arc<Gate>) -> Option<()> {
    let mut client = BufReader::new(client);
    let mut first = String::new();
    client.read_line(&mut first).await.ok()?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        client.read_line(&mut line).await.ok()?;
    }
    if !gate.is_open.load(Ordering::SeqCst) {
        if gate
            .refused
            .fetch_add(1, Ordering::SeqCst)
            .is_multiple_of(2)
        {
            let answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
            client.write_all(answer).await.ok()?;
        }
        return None;
    }
    gate.passed.fetch_add(1, Ordering::SeqCst);
    let authority = first.split(' ').nth(1)?;
    let mut server = TcpStream::connect(authority).await.ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
