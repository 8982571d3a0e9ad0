use std::io::{self, Write};
use std::num::NonZero;
use std::time::{Duration, Instant};

use super::stop::Stop;

/// A way to the server that is longer and narrower than loopback. The default is as loopback is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// What a connection's beginning takes, and then every request, besides the server's own time.
    pub round_trip: Duration,
    /// What one connection carries, in each direction; `None` is no limit.
    pub bytes_per_second: Option<NonZero<u64>>,
}

/// One direction of one connection, which carries no more than its link allows.
pub(super) struct Paced<'a, W> {
    to: W,
    link: Link,
    stop: &'a Stop,
    /// When all that was written has arrived.
    clear: Instant,
}

/// Written at once at most where the rate is limited, for a smooth flow.
const PIECE: usize = 16 << 10;

impl<'a, W: Write> Paced<'a, W> {
    pub(super) fn new(to: W, link: Link, stop: &'a Stop) -> Self {
        Self {
            to,
            link,
            stop,
            clear: Instant::now(),
        }
    }

    fn carry(&mut self, bytes: usize, per_second: NonZero<u64>) {
        let took = Duration::from_secs_f64(bytes as f64 / per_second.get() as f64);
        // What was not used while nothing came is lost.
        self.clear = self.clear.max(Instant::now()) + took;
        self.stop
            .pause(self.clear.saturating_duration_since(Instant::now()));
    }
}

impl<W: Write> Write for Paced<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(per_second) = self.link.bytes_per_second else {
            return self.to.write(bytes);
        };
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.to.write_all(piece)?;
        self.carry(piece.len(), per_second);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
