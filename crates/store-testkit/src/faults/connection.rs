//! One client's connection: its requests one after the other, each with the fault that is due to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;

use super::Fault;
use super::body::{CopyError, Flipping, Length, copy, copy_exactly};
use super::head::{AnswerHead, RequestHead};
use super::link::Paced;
use super::proxy::Shared;
use super::script::Due;

/// How a request left the connection.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// Fit for the next request.
    Open,
    /// To be ended in order.
    Ended,
    /// To be ended by a reset.
    Reset,
}

const BUFFER: usize = 256 << 10;

pub(super) fn serve(client: &Arc<TcpStream>, shared: &Shared) {
    shared.stop.pause(shared.link.round_trip);
    let mut connection = Connection {
        from: BufReader::with_capacity(BUFFER, &**client),
        to: Paced::new(&**client, shared.link, &shared.stop),
        shared,
    };
    loop {
        match connection.next() {
            Ok(After::Open) => {}
            // A server or a client that breaks off is passed on as just that.
            Ok(After::Reset) | Err(_) => {
                let _ = set_socket_linger(client, Some(Duration::ZERO));
                return;
            }
            Ok(After::Ended) => {
                let _ = client.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

struct Connection<'a> {
    from: BufReader<&'a TcpStream>,
    to: Paced<'a, &'a TcpStream>,
    shared: &'a Shared,
}

impl Connection<'_> {
    fn next(&mut self) -> io::Result<After> {
        let Some(request) = RequestHead::read(&mut self.from)? else {
            return Ok(After::Ended);
        };
        let due = self.shared.play.next(&request);
        let place = self.shared.journal.note(&request, due.as_ref());
        let injected = || self.shared.journal.injected(place);
        if request.expects_continue() {
            self.to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match due.as_ref().map(|due| due.fault) {
            Some(Fault::Answer { status, code }) => {
                copy(&mut self.from, &mut io::sink(), request.body())?;
                self.pause(self.shared.link.round_trip);
                injected();
                self.to
                    .write_all(error_answer(status, code, &request).as_bytes())?;
                Ok(After::Open)
            }
            Some(Fault::DropBefore) => {
                injected();
                Ok(After::Reset)
            }
            Some(Fault::Silence) => {
                injected();
                self.until_client_gives_up();
                Ok(After::Ended)
            }
            Some(Fault::Delay(length)) => {
                injected();
                self.pause(length);
                self.pass_on(&request, None, injected)
            }
            _ => self.pass_on(&request, due, injected),
        }
    }

    /// Has the server answer. A connection to the server serves one request, so that none is ever stale.
    fn pass_on(
        &mut self,
        request: &RequestHead,
        due: Option<Due>,
        injected: impl Fn(),
    ) -> io::Result<After> {
        self.pause(self.shared.link.round_trip);
        let server = self.shared.keep(TcpStream::connect(self.shared.server)?)?;
        let mut to_server = Paced::new(&*server, self.shared.link, &self.shared.stop);
        to_server.write_all(&request.bytes())?;
        if let Some(fault @ (Fault::DropInRequest { after } | Fault::StallInRequest { after })) =
            due.as_ref().map(|due| due.fault)
            && matches!(request.body(), Length::Exactly(length) if length > after)
        {
            copy_exactly(&mut self.from, &mut to_server, after)?;
            injected();
            if matches!(fault, Fault::StallInRequest { .. }) {
                self.until_client_is_gone()?;
            }
            set_socket_linger(&server, Some(Duration::ZERO))?;
            return Ok(After::Reset);
        }
        let sent = match copy(&mut self.from, &mut to_server, request.body()) {
            Err(CopyError::From(error)) => return Err(error),
            // The server has enough, and may have said why.
            sent => sent.is_ok(),
        };
        let mut from_server = BufReader::with_capacity(BUFFER, &*server);
        let answer = AnswerHead::read(&mut from_server)?;
        if let Some(due) = due
            && let Some(after) =
                self.answer_badly(request, &answer, &mut from_server, due, injected)?
        {
            return Ok(after);
        }
        self.to.write_all(answer.bytes())?;
        let length = answer.body(request);
        copy(&mut from_server, &mut self.to, length)?;
        if sent && length != Length::UntilEnd && !answer.ends_connection() {
            return Ok(After::Open);
        }
        Ok(After::Ended)
    }

    /// Injects a fault into an answer; `None` when this answer has no room for it.
    fn answer_badly(
        &mut self,
        request: &RequestHead,
        answer: &AnswerHead,
        body: &mut impl BufRead,
        mut due: Due,
        injected: impl Fn(),
    ) -> io::Result<Option<After>> {
        if due.fault == Fault::DropAfter {
            injected();
            return Ok(Some(After::Reset));
        }
        let Length::Exactly(length @ 1..) = answer.body(request) else {
            return Ok(None);
        };
        match due.fault {
            Fault::DropInAnswer { after } | Fault::CutShort { after } | Fault::Stall { after }
                if after < length =>
            {
                self.to.write_all(answer.bytes())?;
                copy_exactly(body, &mut self.to, after)?;
                injected();
                match due.fault {
                    Fault::DropInAnswer { .. } => return Ok(Some(After::Reset)),
                    Fault::Stall { .. } => self.until_client_gives_up(),
                    _ => {}
                }
                Ok(Some(After::Ended))
            }
            Fault::FlipBits { bits } => {
                self.to.write_all(answer.bytes())?;
                injected();
                let mut flipping = Flipping::new(&mut self.to, bits, length, &mut due.rng);
                copy_exactly(body, &mut flipping, length)?;
                Ok(Some(After::Open))
            }
            Fault::Drip { bytes, every } => {
                self.to.write_all(answer.bytes())?;
                injected();
                let mut left = length;
                while left > 0 && !self.shared.stop.is_now() {
                    self.pause(every);
                    let piece = left.min(bytes.max(1) as u64);
                    copy_exactly(body, &mut self.to, piece)?;
                    left -= piece;
                }
                Ok(Some(After::Open))
            }
            Fault::WrongLength { by } => {
                let wrong = answer.bytes_with_length(length.saturating_add_signed(by));
                self.to.write_all(&wrong)?;
                injected();
                copy_exactly(body, &mut self.to, length)?;
                Ok(Some(After::Ended))
            }
            _ => Ok(None),
        }
    }

    fn pause(&self, length: Duration) {
        self.shared.stop.pause(length);
    }

    fn until_client_gives_up(&mut self) {
        let _ = io::copy(&mut self.from.by_ref(), &mut io::sink());
    }

    /// The same, and reads nothing meanwhile.
    fn until_client_is_gone(&self) -> io::Result<()> {
        let client = *self.from.get_ref();
        let a_while = Timespec::try_from(Duration::from_millis(50)).map_err(io::Error::other)?;
        while !self.shared.stop.is_now() {
            let mut ends = [PollFd::new(client, PollFlags::RDHUP)];
            if poll(&mut ends, Some(&a_while))? > 0 {
                break;
            }
        }
        Ok(())
    }
}

fn error_answer(status: u16, code: &str, request: &RequestHead) -> String {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as the script has it</Message><RequestId>0</RequestId></Error>"
    );
    let length = body.len();
    // What is said of a body holds for HEAD as well, and the body itself does not come.
    let body = if request.method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status} {code}\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
