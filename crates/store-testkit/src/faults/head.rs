//! The heads of requests and answers: kept byte for byte, and read as far as a proxy has to.

use std::io::{self, BufRead};

use super::body::Length;

/// A head longer than this is nobody's.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;

/// A request up to its body.
#[derive(Debug)]
pub(super) struct RequestHead {
    bytes: Vec<u8>,
    pub(super) method: String,
    pub(super) target: String,
    headers: Headers,
}

impl RequestHead {
    /// The next one on a connection; `None` when the client has none.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(bytes) = read_head(from)? else {
            return Ok(None);
        };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(&bytes).map_err(io::Error::other)?;
        let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
        Ok(Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Headers::of(request.headers),
            bytes,
        }))
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    pub(super) fn has_query_key(&self, key: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(key))
    }

    pub(super) fn is_ranged(&self) -> bool {
        self.headers.get("range").is_some()
    }

    /// The client waits to be told to send the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.headers.has_word("expect", "100-continue")
    }

    pub(super) fn body(&self) -> Length {
        self.headers.declared_length().unwrap_or(Length::Exactly(0))
    }

    /// What the server gets: everything, but that a body that was waited for is on its way.
    pub(super) fn bytes(&self) -> Vec<u8> {
        edit_header(&self.bytes, "expect", None)
    }
}

/// An answer up to its body.
#[derive(Debug)]
pub(super) struct AnswerHead {
    bytes: Vec<u8>,
    status: u16,
    headers: Headers,
}

impl AnswerHead {
    /// The final answer; interim ones are skipped.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        loop {
            let bytes = read_head(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut answer = httparse::Response::new(&mut headers);
            answer.parse(&bytes).map_err(io::Error::other)?;
            let status = answer.code.unwrap_or(0);
            if (100..200).contains(&status) {
                continue;
            }
            return Ok(Self {
                status,
                headers: Headers::of(answer.headers),
                bytes,
            });
        }
    }

    pub(super) fn body(&self, request: &RequestHead) -> Length {
        if request.method == "HEAD" || matches!(self.status, 204 | 304) {
            return Length::Exactly(0);
        }
        self.headers.declared_length().unwrap_or(Length::UntilEnd)
    }

    /// The server means to say no more on this connection.
    pub(super) fn ends_connection(&self) -> bool {
        self.headers.has_word("connection", "close")
            || (self.bytes.starts_with(b"HTTP/1.0")
                && !self.headers.has_word("connection", "keep-alive"))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_with_length(&self, length: u64) -> Vec<u8> {
        edit_header(&self.bytes, "content-length", Some(&length.to_string()))
    }
}

#[derive(Debug)]
struct Headers(Vec<(String, String)>);

impl Headers {
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Self(
            headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    fn has_word(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|value| {
            value
                .split(',')
                .any(|w| w.trim().eq_ignore_ascii_case(word))
        })
    }

    fn declared_length(&self) -> Option<Length> {
        if self.has_word("transfer-encoding", "chunked") {
            return Some(Length::Chunked);
        }
        let length = self.get("content-length")?.parse().ok()?;
        Some(Length::Exactly(length))
    }
}

/// All up to the empty line and that line; `None` when there is nothing at all.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let read = from.read_until(b'\n', &mut head)?;
        match (read, head.len()) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Before a request, an empty line is nothing.
            (2, 2) => head.clear(),
            (2, _) => return Ok(Some(head)),
            (_, length) if length > MAX_HEAD => {
                return Err(io::Error::other("a head without an end"));
            }
            _ => {}
        }
    }
}

/// The head with another value for a header, or without it; every other byte stays.
fn edit_header(head: &[u8], name: &str, value: Option<&str>) -> Vec<u8> {
    let mut edited = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let is_it = line
            .split(|byte| *byte == b':')
            .next()
            .is_some_and(|other| other.eq_ignore_ascii_case(name.as_bytes()));
        match value {
            _ if !is_it => edited.extend_from_slice(line),
            Some(value) => edited.extend_from_slice(format!("{name}: {value}\r\n").as_bytes()),
            None => {}
        }
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_passed_on_byte_for_byte_but_for_what_is_edited() {
        let bytes =
            b"PUT /a HTTP/1.1\r\nhOSt:  127.0.0.1:1\r\nExpect: 100-continue\r\nX: \xff\r\n\r\nbody";
        let mut from = &bytes[..];
        let head = RequestHead::read(&mut from).unwrap().unwrap();
        assert_eq!(from, b"body");
        assert!(head.expects_continue());
        let left = b"PUT /a HTTP/1.1\r\nhOSt:  127.0.0.1:1\r\nX: \xff\r\n\r\n";
        assert_eq!(head.bytes(), left);
    }

    #[test]
    fn interim_answers_are_skipped_and_a_length_is_replaced() {
        let mut bytes =
            &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..];
        let answer = AnswerHead::read(&mut bytes).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.bytes_with_length(7),
            b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"
        );
    }
}
