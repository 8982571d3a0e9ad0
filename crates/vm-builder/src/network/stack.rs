//! A TCP/IP stack at the host's end of the guest's Ethernet segment, with one listening port.
//!
//! Frames come and go over a stream socket in the form of QEMU's `-netdev stream`: a 32-bit big-endian
//! length, then that many bytes of Ethernet frame (QEMU, `net/stream.c`).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::{HOST_ADDRESS, PROXY_PORT};

/// Connections that a guest may have at once; it is refused more.
const MOST_CONNECTIONS: usize = 64;
/// Bytes in flight for each direction of a connection.
const WINDOW: usize = 256 << 10;
/// The largest Ethernet frame, in bytes: an MTU of 1500 and the header.
const FRAME: usize = 1514;
/// Frames that wait for QEMU to take them.
const MOST_WAITING_FRAMES: usize = 256;
/// A peer that does not acknowledge for this long is gone.
const DEAD_PEER: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Serves the segment until QEMU closes its end. `service` gets each connection that the guest opens to
/// the port; dropping the future drops what it has not finished.
pub(super) async fn serve<S, F>(frames: UnixStream, service: S) -> io::Result<()>
where
    S: Fn(DuplexStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut stack = Stack::new(frames);
    let mut served = JoinSet::new();
    poll_fn(|cx| {
        while let Poll::Ready(Some(_)) = served.poll_join_next(cx) {}
        stack.poll(cx, &mut |connection| {
            served.spawn(service(connection));
        })
    })
    .await
}

struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    alarm: Pin<Box<Sleep>>,
    started: tokio::time::Instant,
}

impl Stack {
    fn new(frames: UnixStream) -> Self {
        let mut wire = Wire::new(frames);
        // Locally administered, as 52:54:00 is; any address but the guest's will do.
        let address = HardwareAddress::Ethernet(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x02]));
        let mut interface = Interface::new(Config::new(address), &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The list is of fixed capacity, and empty.
            let _ = addresses.push(IpCidr::new(HOST_ADDRESS.into(), 24));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let connections = (0..MOST_CONNECTIONS)
            .map(|_| Connection::listening(&mut sockets))
            .collect();
        Self {
            wire,
            interface,
            sockets,
            connections,
            alarm: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            started: tokio::time::Instant::now(),
        }
    }

    /// Moves everything that can move now. Ready when QEMU has closed its end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(DuplexStream),
    ) -> Poll<io::Result<()>> {
        loop {
            let now = Instant::from_micros(
                i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX),
            );
            let mut moved = match self.wire.poll_read_frames(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                read => read.is_ready(),
            };
            moved |= self.interface.poll(now, &mut self.wire, &mut self.sockets)
                == PollResult::SocketStateChanged;
            for connection in &mut self.connections {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
                moved |= connection.pump(socket, cx, accept);
            }
            match self.wire.poll_write_frames(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(wrote)) => moved |= wrote,
                Poll::Pending => {}
            }
            if moved {
                continue;
            }
            let Some(delay) = self.interface.poll_delay(now, &self.sockets) else {
                return Poll::Pending;
            };
            let at = tokio::time::Instant::now()
                + std::time::Duration::from_micros(delay.total_micros());
            self.alarm.as_mut().reset(at);
            ready!(self.alarm.as_mut().poll(cx));
        }
    }
}

/// One place for a connection of the guest: it listens, then carries, then listens again.
struct Connection {
    handle: SocketHandle,
    carried: Option<Carried>,
}

struct Carried {
    /// This side of the pipe to the service.
    pipe: DuplexStream,
    guest_is_done: bool,
    service_is_done: bool,
}

impl Connection {
    fn listening(sockets: &mut SocketSet<'static>) -> Self {
        let buffer = || tcp::SocketBuffer::new(vec![0; WINDOW]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_timeout(Some(DEAD_PEER));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_nagle_enabled(false);
        Self {
            handle: sockets.add(socket),
            carried: None,
        }
    }

    /// Moves bytes between the guest's socket and the service. True if anything moved.
    fn pump(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(DuplexStream),
    ) -> bool {
        if !socket.is_open() {
            self.carried = None;
            return socket.listen((HOST_ADDRESS, PROXY_PORT)).is_ok();
        }
        if self.carried.is_none() && socket.may_send() {
            let (near, far) = tokio::io::duplex(WINDOW);
            accept(far);
            self.carried = Some(Carried {
                pipe: near,
                guest_is_done: false,
                service_is_done: false,
            });
        }
        match &mut self.carried {
            Some(carried) => {
                carried.pump_to_service(socket, cx) | carried.pump_to_guest(socket, cx)
            }
            None => false,
        }
    }
}

impl Carried {
    fn pump_to_service(&mut self, socket: &mut tcp::Socket<'_>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while socket.can_recv() {
            let pipe = Pin::new(&mut self.pipe);
            let taken = socket.recv(|bytes| match pipe.poll_write(cx, bytes) {
                Poll::Ready(Ok(written)) => (written, Poll::Ready(true)),
                Poll::Ready(Err(_)) => (bytes.len(), Poll::Ready(false)),
                Poll::Pending => (0, Poll::Pending),
            });
            match taken {
                Ok(Poll::Ready(true)) => moved = true,
                // The service has gone; so has the use of the connection.
                Ok(Poll::Ready(false)) => {
                    socket.abort();
                    return true;
                }
                Ok(Poll::Pending) | Err(_) => return moved,
            }
        }
        if !socket.may_recv() && !self.guest_is_done {
            self.guest_is_done = Pin::new(&mut self.pipe).poll_shutdown(cx).is_ready();
            moved |= self.guest_is_done;
        }
        moved
    }

    fn pump_to_guest(&mut self, socket: &mut tcp::Socket<'_>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while socket.can_send() && !self.service_is_done {
            let pipe = Pin::new(&mut self.pipe);
            let sent = socket.send(|space| {
                let mut buffer = ReadBuf::new(space);
                let read = pipe.poll_read(cx, &mut buffer);
                (
                    buffer.filled().len(),
                    read.map(|read| read.map(|()| buffer.filled().len())),
                )
            });
            match sent {
                Ok(Poll::Ready(Ok(1..))) => moved = true,
                Ok(Poll::Ready(_)) => {
                    self.service_is_done = true;
                    socket.close();
                    return true;
                }
                Ok(Poll::Pending) | Err(_) => return moved,
            }
        }
        moved
    }
}

/// The segment: frames to and from QEMU.
struct Wire {
    stream: UnixStream,
    incoming: Vec<u8>,
    received: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first waiting frame that QEMU has taken.
    taken: usize,
}

const LENGTH: usize = size_of::<u32>();

impl Wire {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Vec::new(),
            received: VecDeque::new(),
            waiting: VecDeque::new(),
            taken: 0,
        }
    }

    /// Reads once. Gives the bytes read; 0 when QEMU has closed its end.
    fn poll_read_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= MOST_WAITING_FRAMES {
            // Every frame read may be answered: a guest that asks and does not listen is not read.
            return Poll::Pending;
        }
        let mut chunk = [0; 16 << 10];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.incoming.extend_from_slice(buffer.filled());
        let mut rest = self.incoming.as_slice();
        while let Some((length, frame)) = rest.split_first_chunk::<LENGTH>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > FRAME {
                let what = format!("a frame of {length} bytes on the guest's segment");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
            let Some((frame, next)) = frame.split_at_checked(length) else {
                break;
            };
            self.received.push_back(frame.to_vec());
            rest = next;
        }
        let used = self.incoming.len() - rest.len();
        self.incoming.drain(..used);
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes waiting frames until there are none (ready) or QEMU takes no more (pending).
    fn poll_write_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        while let Some(frame) = self.waiting.front() {
            self.taken += ready!(Pin::new(&mut self.stream).poll_write(cx, &frame[self.taken..]))?;
            wrote = true;
            if self.taken == frame.len() {
                self.taken = 0;
                self.waiting.pop_front();
            }
        }
        Poll::Ready(Ok(wrote))
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Waiting<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Waiting(&mut self.waiting)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        (self.waiting.len() < MOST_WAITING_FRAMES).then_some(Waiting(&mut self.waiting))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Waiting<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Waiting<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; LENGTH + length];
        let (prefix, body) = frame.split_at_mut(LENGTH);
        // A frame is at most `FRAME` bytes.
        prefix.copy_from_slice(&(length as u32).to_be_bytes());
        let result = write(body);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use smoltcp::wire::{IpAddress, Ipv4Address};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A guest: the same stack at the other end of the wire, as a client.
    struct Guest {
        wire: Wire,
        interface: Interface,
        sockets: SocketSet<'static>,
    }

    impl Guest {
        fn new(stream: UnixStream) -> Self {
            let mut wire = Wire::new(stream);
            let address =
                HardwareAddress::Ethernet(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
            let mut interface = Interface::new(Config::new(address), &mut wire, Instant::now());
            interface.update_ip_addrs(|list| {
                list.push(IpCidr::new(IpAddress::v4(10, 0, 2, 15), 24))
                    .unwrap();
            });
            Self {
                wire,
                interface,
                sockets: SocketSet::new(Vec::new()),
            }
        }

        fn connect(&mut self, to: Ipv4Address, port: u16, from: u16) -> SocketHandle {
            let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
            let mut socket = tcp::Socket::new(buffer(), buffer());
            socket
                .connect(self.interface.context(), (to, port), from)
                .unwrap();
            self.sockets.add(socket)
        }

        /// Runs the guest until `done` says so, or until nothing has moved for a while.
        async fn run(&mut self, mut done: impl FnMut(&mut SocketSet<'static>) -> bool) -> bool {
            for _ in 0..400 {
                poll_fn(|cx| {
                    let _ = self.wire.poll_read_frames(cx);
                    self.interface
                        .poll(Instant::now(), &mut self.wire, &mut self.sockets);
                    let _ = self.wire.poll_write_frames(cx);
                    Poll::Ready(())
                })
                .await;
                if done(&mut self.sockets) {
                    return true;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            false
        }
    }

    async fn echo(mut connection: DuplexStream) {
        let mut bytes = vec![0; 4096];
        while let Ok(read @ 1..) = connection.read(&mut bytes).await {
            if connection.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
        let _ = connection.shutdown().await;
    }

    fn segment() -> (Guest, tokio::task::JoinHandle<io::Result<()>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Guest::new(theirs), tokio::spawn(serve(ours, echo)))
    }

    #[tokio::test]
    async fn bytes_reach_the_service_and_come_back_and_both_ends_close() {
        let (mut guest, served) = segment();
        let handle = guest.connect(HOST_ADDRESS, PROXY_PORT, 40_000);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut offset, mut back) = (0, Vec::new());
        let closed = guest
            .run(|sockets| {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
                if socket.can_send() && offset < sent.len() {
                    offset += socket.send_slice(&sent[offset..]).unwrap();
                    if offset == sent.len() {
                        socket.close();
                    }
                }
                while socket.can_recv() {
                    socket
                        .recv(|bytes| {
                            back.extend_from_slice(bytes);
                            (bytes.len(), ())
                        })
                        .unwrap();
                }
                back.len() == sent.len() && !socket.may_recv()
            })
            .await;
        assert!(closed, "{} of {} bytes came back", back.len(), sent.len());
        assert!(back == sent);
        drop(guest);
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn other_ports_and_other_addresses_lead_nowhere() {
        let (mut guest, _served) = segment();
        let refused = guest.connect(HOST_ADDRESS, 22, 40_001);
        let silent = guest.connect(Ipv4Address::new(10, 0, 2, 99), PROXY_PORT, 40_002);
        let mut seen = (false, false);
        guest
            .run(|sockets| {
                seen.0 |= sockets.get::<tcp::Socket<'_>>(refused).state() == tcp::State::Closed;
                seen.1 |= sockets.get::<tcp::Socket<'_>>(silent).may_send();
                false
            })
            .await;
        assert_eq!(
            seen,
            (true, false),
            "port 22 is refused, and nobody answers for another address"
        );
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_refused_and_places_are_used_again() {
        let (mut guest, _served) = segment();
        let open = |sockets: &SocketSet<'static>, handles: &[SocketHandle]| {
            handles
                .iter()
                .filter(|handle| sockets.get::<tcp::Socket<'_>>(**handle).may_send())
                .count()
        };
        let handles: Vec<_> = (0..MOST_CONNECTIONS as u16 + 8)
            .map(|n| guest.connect(HOST_ADDRESS, PROXY_PORT, 41_000 + n))
            .collect();
        assert!(
            !guest
                .run(|sockets| open(sockets, &handles) > MOST_CONNECTIONS)
                .await
        );
        assert_eq!(open(&guest.sockets, &handles), MOST_CONNECTIONS);
        for handle in handles {
            guest.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
        }
        guest.run(|_| false).await;
        let again = guest.connect(HOST_ADDRESS, PROXY_PORT, 42_000);
        assert!(guest.run(|sockets| open(sockets, &[again]) == 1).await);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_ends_the_service_with_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let error = serve(ours, echo).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
