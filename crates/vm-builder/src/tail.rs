use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

/// The last bytes of a stream that nobody reads otherwise: a console, a standard error.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Closed at the end of the stream.
    ended: watch::Receiver<()>,
}

/// Bytes kept. More than a screen, and little enough for an error message.
const KEPT: usize = 8 << 10;

impl Tail {
    /// Of no stream.
    pub(crate) fn empty() -> Self {
        Self {
            kept: Arc::default(),
            ended: watch::channel(()).1,
        }
    }

    /// Reads `stream` to its end in the background, so that its writer never blocks.
    pub(crate) fn of(mut stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (end, ended) = watch::channel(());
        let tail = Self {
            ended,
            ..Self::empty()
        };
        let kept = tail.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; 4 << 10];
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                kept.push(&bytes[..read]);
            }
            drop(end);
        });
        tail
    }

    /// Waits for the end of the stream: then the tail is the last that will be said.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    /// What is kept, as text without terminal controls.
    pub(crate) fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.chars()
            .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn only_the_last_bytes_are_kept_and_controls_are_left_out() {
        let tail = Tail::empty();
        tail.push(&vec![b'a'; KEPT]);
        tail.push(b"\x1b[31mpanic\r\n");
        let text = tail.text();
        assert!(text.ends_with("a[31mpanic\n"), "{text}");
        assert!(text.len() <= KEPT);
    }

    #[tokio::test]
    async fn a_console_that_is_flooded_is_read_on_and_takes_no_more_memory() {
        let (console, mut guest) = tokio::io::duplex(64 << 10);
        let tail = Tail::of(console);
        for _ in 0..1000 {
            guest.write_all(&[b'x'; 16 << 10]).await.unwrap();
        }
        let held = tail.kept.lock().unwrap().capacity();
        assert!(held <= 4 * KEPT, "{held} bytes are held");
    }
}
