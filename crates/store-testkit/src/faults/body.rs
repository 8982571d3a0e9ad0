//! Bodies: where they end, and passing them on.

use std::io::{self, BufRead, Read, Write};

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Exactly(u64),
    Chunked,
    /// It ends with the connection.
    UntilEnd,
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum CopyError {
    From(io::Error),
    To(io::Error),
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::From(error) | CopyError::To(error) => error,
        }
    }
}

/// Passes on a whole body as it is on the wire.
pub(super) fn copy(
    from: &mut impl BufRead,
    to: &mut impl Write,
    length: Length,
) -> Result<(), CopyError> {
    match length {
        Length::Exactly(length) => copy_exactly(from, to, length),
        Length::Chunked => copy_chunks(from, to),
        Length::UntilEnd => copy_some(from, to, u64::MAX).map(drop),
    }
}

/// Passes on that many bytes; fewer are an error.
pub(super) fn copy_exactly(
    from: &mut impl BufRead,
    to: &mut impl Write,
    length: u64,
) -> Result<(), CopyError> {
    if copy_some(from, to, length)? == length {
        return Ok(());
    }
    Err(CopyError::From(io::ErrorKind::UnexpectedEof.into()))
}

/// Passes on bytes up to `limit` of them or their end, and says how many there were.
fn copy_some(from: &mut impl BufRead, to: &mut impl Write, limit: u64) -> Result<u64, CopyError> {
    let mut from = from.take(limit);
    let mut copied = 0;
    loop {
        let bytes = match from.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::From(error)),
        };
        if bytes.is_empty() {
            return Ok(copied);
        }
        to.write_all(bytes).map_err(CopyError::To)?;
        let read = bytes.len();
        from.consume(read);
        copied += read as u64;
    }
}

/// RFC 9112, 7.1: chunks, each behind its length in hexadecimal; an empty one, trailers, an empty line.
fn copy_chunks(from: &mut impl BufRead, to: &mut impl Write) -> Result<(), CopyError> {
    loop {
        let line = copy_line(from, to)?;
        let digits = line.split([';', '\r', '\n']).next().unwrap_or("").trim();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|error| CopyError::From(io::Error::other(error)))?;
        if length == 0 {
            while copy_line(from, to)?.trim() != "" {}
            return Ok(());
        }
        copy_exactly(from, to, length + 2)?;
    }
}

fn copy_line(from: &mut impl BufRead, to: &mut impl Write) -> Result<String, CopyError> {
    const MAX_LINE: u64 = 16 << 10;
    let mut line = Vec::new();
    from.take(MAX_LINE)
        .read_until(b'\n', &mut line)
        .map_err(CopyError::From)?;
    if !line.ends_with(b"\n") {
        return Err(CopyError::From(io::ErrorKind::UnexpectedEof.into()));
    }
    to.write_all(&line).map_err(CopyError::To)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Passes on what is written to it with some bits flipped.
pub(super) struct Flipping<W> {
    to: W,
    at: u64,
    /// Sorted; each with the bit of its byte.
    flips: Vec<(u64, u8)>,
}

impl<W: Write> Flipping<W> {
    /// `bits` bits, in different bytes of a body of `length`.
    pub(super) fn new(to: W, bits: usize, length: u64, rng: &mut fastrand::Rng) -> Self {
        let bits = bits.min(usize::try_from(length).unwrap_or(usize::MAX));
        let mut flips = std::collections::BTreeMap::new();
        while flips.len() < bits {
            flips.insert(rng.u64(..length), 1 << rng.u8(..8));
        }
        Self {
            to,
            at: 0,
            flips: flips.into_iter().collect(),
        }
    }
}

impl<W: Write> Write for Flipping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        let end = self.at + bytes.len() as u64;
        let begin = self.flips.partition_point(|(at, _)| *at < self.at);
        for (at, mask) in self.flips[begin..].iter().take_while(|(at, _)| *at < end) {
            // Below the length of a buffer.
            bytes[(at - self.at) as usize] ^= mask;
        }
        self.to.write_all(&bytes)?;
        self.at = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_passed_on_to_its_end_and_no_further() {
        let body = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
        let mut from = &[&body[..], b"GET"].concat()[..];
        let mut to = Vec::new();
        copy(&mut from, &mut to, Length::Chunked).unwrap();
        assert_eq!(to, body);
        assert_eq!(from, b"GET");
    }

    #[test]
    fn a_body_that_ends_early_is_an_error_of_its_source() {
        for (body, length) in [
            (&b"hell"[..], Length::Exactly(5)),
            (b"5\r\nhell", Length::Chunked),
            (b"5", Length::Chunked),
        ] {
            let copied = copy(&mut &*body, &mut io::sink(), length);
            assert!(matches!(copied, Err(CopyError::From(_))));
        }
    }

    #[test]
    fn just_so_many_bits_are_flipped_however_the_body_is_cut_up() {
        let flipped = |piece: usize| {
            let mut to = Vec::new();
            let mut rng = fastrand::Rng::with_seed(3);
            let mut flipping = Flipping::new(&mut to, 5, 1000, &mut rng);
            for piece in vec![0; 1000].chunks(piece) {
                flipping.write_all(piece).unwrap();
            }
            to
        };
        assert_eq!(flipped(1000), flipped(7));
        let bits: u32 = flipped(7).iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(bits, 5);
    }
}
