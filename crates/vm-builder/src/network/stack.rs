//! A TCP/IP stack at the host's end of the guest's Ethernet segment, with one listening port.
//!
//! Frames come and go over a stream socket in the form of QEMU's `-netdev stream`: a 32-bit big-endian
//! length, then that many bytes of Ethernet frame (QEMU, `net/stream.c`).
//!
//! A guest has a fixed number of places for connections. When all are taken, one that is not in use loses its
//! place to who asks, and where all are in use who asks is not refused but not heard, so that it asks again. So a program that floods the segment does not starve its neighbour in the same guest.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress, IpCidr, IpProtocol,
    Ipv4Packet, TcpPacket,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{HOST_ADDRESS, PROXY_PORT};

/// Connections that a guest may have at once.
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
/// A connection on which nothing has moved for this long is closed. No installer waits for so long.
const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// Serves the segment until QEMU closes its end. `service` gets each connection that the guest opens to
/// the port, for as long as the guest has it open: what serves one that is gone is dropped. So is all when the future is.
pub(super) async fn serve<S, F>(frames: UnixStream, service: S) -> io::Result<()>
where
    S: Fn(DuplexStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut stack = Stack::new(frames);
    let mut accept = |connection| AbortOnDropHandle::new(tokio::spawn(service(connection)));
    poll_fn(|cx| stack.poll(cx, &mut accept)).await
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
        accept: &mut impl FnMut(DuplexStream) -> AbortOnDropHandle<()>,
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
            self.make_places(now);
            moved |= self.interface.poll(now, &mut self.wire, &mut self.sockets)
                == PollResult::SocketStateChanged;
            for connection in &mut self.connections {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
                if connection.pump(socket, cx, accept) {
                    connection.moved_at = now;
                    moved = true;
                } else if connection.carried.is_some() && now - connection.moved_at > LONGEST_IDLE {
                    socket.abort();
                    moved = true;
                }
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

    /// Sees to it that there is a place for each connection that is asked for, and passes over those for which
    /// there is none.
    fn make_places(&mut self, now: Instant) {
        let (connections, sockets) = (&mut self.connections, &mut self.sockets);
        let is_free = |connection: &&Connection| {
            let socket = sockets.get::<tcp::Socket<'_>>(connection.handle);
            socket.is_listening()
        };
        let mut free = connections.iter().filter(is_free).count();
        self.wire.received.retain(|frame| {
            if !asks_for_a_place(frame) {
                return true;
            }
            if free > 0 {
                free -= 1;
                return true;
            }
            let overdue = connections.iter_mut().filter_map(|connection| {
                let state = sockets.get::<tcp::Socket<'_>>(connection.handle).state();
                let (idle, patience) = (now - connection.moved_at, connection.patience(state));
                let is_overdue = state != tcp::State::Listen && idle >= patience;
                is_overdue.then_some(((Reverse(patience), idle), connection))
            });
            let Some((_, least_used)) = overdue.max_by_key(|(rank, _)| *rank) else {
                return false;
            };
            least_used.carried = None;
            least_used.moved_at = now;
            let socket = sockets.get_mut::<tcp::Socket<'_>>(least_used.handle);
            socket.abort();
            socket.listen((HOST_ADDRESS, PROXY_PORT)).is_ok()
        });
    }
}

/// Whether a frame asks for a connection to the port.
fn asks_for_a_place(frame: &[u8]) -> bool {
    let is_syn = || {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Ipv4 || ip.next_header() != IpProtocol::Tcp {
            return None;
        }
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        Some(tcp.syn() && !tcp.ack() && tcp.dst_port() == PROXY_PORT)
    };
    is_syn().unwrap_or(false)
}

/// One place for a connection of the guest: it listens, then carries, then listens again.
struct Connection {
    handle: SocketHandle,
    carried: Option<Carried>,
    /// When something last moved: a byte, or the connection from one state into another.
    moved_at: Instant,
    state: tcp::State,
}

struct Carried {
    /// This side of the pipe to the service.
    pipe: DuplexStream,
    guest_is_done: bool,
    service_is_done: bool,
    was_answered: bool,
    /// What is at the other end of the pipe. A guest cannot have more of them than it has places.
    _service: AbortOnDropHandle<()>,
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
            moved_at: Instant::ZERO,
            state: tcp::State::Closed,
        }
    }

    /// For how long a connection may be idle when another one wants its place.
    fn patience(&self, state: tcp::State) -> Duration {
        match (&self.carried, state) {
            (_, tcp::State::TimeWait) => Duration::ZERO,
            // Half open: a system that means it answers at once.
            (None, _) => Duration::from_millis(50),
            // It has not said yet what it wants, or is being connected.
            (Some(carried), _) if !carried.was_answered => Duration::from_secs(5),
            (Some(_), _) => Duration::from_secs(15),
        }
    }

    /// Moves bytes between the guest's socket and the service. True if anything moved.
    fn pump(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(DuplexStream) -> AbortOnDropHandle<()>,
    ) -> bool {
        let was = std::mem::replace(&mut self.state, socket.state());
        if !socket.is_open() {
            self.carried = None;
            return socket.listen((HOST_ADDRESS, PROXY_PORT)).is_ok();
        }
        if self.carried.is_none() && socket.may_send() {
            let (near, far) = tokio::io::duplex(WINDOW);
            let service = accept(far);
            self.carried = Some(Carried {
                _service: service,
                pipe: near,
                guest_is_done: false,
                service_is_done: false,
                was_answered: false,
            });
        }
        let carried = match &mut self.carried {
            Some(carried) => {
                carried.pump_to_service(socket, cx) | carried.pump_to_guest(socket, cx)
            }
            None => false,
        };
        carried || was != self.state
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
                Ok(Poll::Ready(Ok(1..))) => {
                    self.was_answered = true;
                    moved = true;
                }
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
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        ArpOperation, ArpPacket, ArpRepr, EthernetRepr, IpAddress, Ipv4Address, Ipv4Repr,
        TcpControl, TcpRepr, TcpSeqNumber,
    };
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A guest: the same stack at the other end of the wire, as a client.
    struct Guest {
        wire: Wire,
        interface: Interface,
        sockets: SocketSet<'static>,
        started: tokio::time::Instant,
    }

    impl Guest {
        fn new(stream: UnixStream) -> Self {
            let mut wire = Wire::new(stream);
            let address =
                HardwareAddress::Ethernet(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
            let mut interface = Interface::new(Config::new(address), &mut wire, Instant::ZERO);
            interface.update_ip_addrs(|list| {
                list.push(IpCidr::new(IpAddress::v4(10, 0, 2, 15), 24))
                    .unwrap();
            });
            Self {
                wire,
                interface,
                sockets: SocketSet::new(Vec::new()),
                started: tokio::time::Instant::now(),
            }
        }

        fn now(&self) -> Instant {
            Instant::from_micros(self.started.elapsed().as_micros() as i64)
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
                let now = self.now();
                poll_fn(|cx| {
                    let _ = self.wire.poll_read_frames(cx);
                    self.interface.poll(now, &mut self.wire, &mut self.sockets);
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

    /// Counts what serves.
    struct Serving(Arc<AtomicUsize>);

    impl Drop for Serving {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_serves_a_connection_ends_with_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = Arc::new(AtomicUsize::new(0));
        let count = serving.clone();
        let _served = tokio::spawn(serve(ours, move |connection| {
            count.fetch_add(1, Ordering::SeqCst);
            let counted = Serving(count.clone());
            async move {
                // As one does that waits for a host which never answers.
                std::future::pending::<()>().await;
                drop((connection, counted));
            }
        }));
        let mut guest = Guest::new(theirs);
        for port in 0..3 {
            let handle = guest.connect(HOST_ADDRESS, PROXY_PORT, 41_000 + port);
            let now = || serving.load(Ordering::SeqCst);
            assert!(guest.run(|_| now() == 1).await);
            let reset = guest.run(|sockets| {
                sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
                now() == 0
            });
            assert!(reset.await, "it is served still");
        }
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
    async fn connections_beyond_the_limit_are_not_heard_and_places_are_used_again() {
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

    /// A frame with a TCP packet that asks a port for a connection.
    fn syn(from: u16, to: u16) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: from,
            dst_port: to,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(1),
            ack_number: None,
            window_len: 1024,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let source = Ipv4Address::new(10, 0, 2, 77);
        let ip = Ipv4Repr {
            src_addr: source,
            dst_addr: HOST_ADDRESS,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x77]),
            dst_addr: EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x02]),
            ethertype: EthernetProtocol::Ipv4,
        };
        let checksums = ChecksumCapabilities::default();
        let length = ethernet.buffer_len() + ip.buffer_len() + tcp.buffer_len();
        let mut bytes = vec![0; LENGTH + length];
        let (prefix, frame) = bytes.split_at_mut(LENGTH);
        prefix.copy_from_slice(&(length as u32).to_be_bytes());
        let mut frame = EthernetFrame::new_unchecked(frame);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let mut packet = TcpPacket::new_unchecked(packet.payload_mut());
        tcp.emit(
            &mut packet,
            &source.into(),
            &HOST_ADDRESS.into(),
            &checksums,
        );
        bytes
    }

    /// Whether a new connection of this guest carries bytes there and back, before long.
    async fn is_served(guest: &mut Guest, from: u16) -> bool {
        let handle = guest.connect(HOST_ADDRESS, PROXY_PORT, from);
        let mut is_sent = false;
        let mut echoed = |sockets: &mut SocketSet<'static>| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && !is_sent {
                socket.send_slice(b"hello").unwrap();
                is_sent = true;
            }
            socket.can_recv()
        };
        for _ in 0..50 {
            if guest.run(&mut echoed).await {
                return true;
            }
        }
        false
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_never_completed_hold_nobody_up() {
        let (mut guest, _served) = segment();
        assert!(asks_for_a_place(&syn(1, PROXY_PORT)[LENGTH..]));
        for from in 1..2000 {
            guest.wire.waiting.push_back(syn(from, PROXY_PORT));
        }
        assert!(is_served(&mut guest, 40_000).await);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_say_nothing_give_their_place_to_one_that_does() {
        let (mut guest, _served) = segment();
        for n in 0..2 * MOST_CONNECTIONS as u16 {
            guest.connect(HOST_ADDRESS, PROXY_PORT, 41_000 + n);
        }
        guest.run(|_| false).await;
        assert!(is_served(&mut guest, 40_000).await);
    }

    #[tokio::test]
    async fn frames_of_garbage_are_nothing_to_the_rest() {
        let (mut guest, _served) = segment();
        let mut random = fastrand::Rng::with_seed(11);
        let real = syn(7, PROXY_PORT)[LENGTH..].to_vec();
        for n in 0..3000 {
            let mut frame = match n % 3 {
                0 => vec![0; random.usize(..=FRAME)],
                1 => real[..random.usize(..=real.len())].to_vec(),
                _ => real.clone(),
            };
            let bytes = frame.len();
            for _ in 0..bytes.min(8) {
                frame[random.usize(..bytes)] = random.u8(..);
            }
            let length = (bytes as u32).to_be_bytes();
            guest.wire.waiting.push_back([&length[..], &frame].concat());
        }
        assert!(is_served(&mut guest, 40_000).await);
    }

    #[tokio::test]
    async fn a_guest_that_asks_and_does_not_listen_is_not_heard_for_ever() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let _served = tokio::spawn(serve(ours, echo));
        // Who has 10.0.2.2? Each is answered, and nobody takes the answers.
        let mut asked = [0; LENGTH + 42];
        asked[LENGTH - 1] = 42;
        let mut frame = EthernetFrame::new_unchecked(&mut asked[LENGTH..]);
        let sender = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x77]);
        EthernetRepr {
            src_addr: sender,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut frame);
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: sender,
            source_protocol_addr: Ipv4Address::new(10, 0, 2, 77),
            target_hardware_addr: EthernetAddress::BROADCAST,
            target_protocol_addr: HOST_ADDRESS,
        }
        .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        let mut taken = 0;
        let flood = async {
            loop {
                theirs.writable().await.unwrap();
                // Where the last write ended within a frame, the next one goes on.
                match theirs.try_write(&asked.repeat(1000)[taken % asked.len()..]) {
                    Ok(more) => taken += more,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        };
        let _: Result<(), _> = tokio::time::timeout(std::time::Duration::from_secs(1), flood).await;
        assert!(taken < 4 << 20, "{taken} bytes were taken");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_ends_the_service_with_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let error = serve(ours, echo).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
