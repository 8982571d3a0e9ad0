//! The guest agent's channel: one question at a time, each with its answer.
//!
//! The other end is in the guest, and so a stranger's once packages were installed there. Nothing is read but
//! while an answer is waited for, an answer has a greatest length, and it has to carry its question's number.
//! So what a guest can do to us is to be wrong, or silent.

use std::collections::BTreeSet;
use std::io;

use qapi::{Command, Execute};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// The channel to an agent. Questions wait for each other.
#[derive(Debug)]
pub(crate) struct AgentChannel(Mutex<Line>);

/// No answer came, or none that can be used.
#[derive(Debug, Error)]
pub(crate) enum ChannelError {
    #[error("the guest agent refused `{command}`: {why}")]
    Refused { command: &'static str, why: String },
    #[error("the guest agent's channel broke")]
    Io(#[from] io::Error),
    #[error("the guest agent's answer to `{command}` is longer than {LONGEST_ANSWER} bytes")]
    TooLong { command: &'static str },
    #[error("the guest agent's answer to `{command}` is malformed: {why}")]
    Malformed { command: &'static str, why: String },
    #[error("the guest agent answered something else than `{command}`, which it was asked")]
    Unasked { command: &'static str },
    #[error("the guest agent answered wrongly before")]
    Broken,
}

/// An answer is never longer, in bytes. Those that we ask for have a hundred or two.
const LONGEST_ANSWER: usize = 16 << 10;
/// Characters of the guest's words in an error.
const MOST_WORDS: usize = 200;

#[derive(Debug)]
struct Line {
    socket: UnixStream,
    /// Bytes of questions that the socket has not taken yet.
    unsent: Vec<u8>,
    /// Bytes of an answer that is not whole yet.
    read: Vec<u8>,
    last: u64,
    /// The question that is being waited on.
    asked: Option<u64>,
    /// Questions whose asker did not wait for the answer.
    abandoned: BTreeSet<u64>,
    /// After a wrong answer nothing that follows is trusted.
    is_broken: bool,
}

impl AgentChannel {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self(Mutex::new(Line {
            socket,
            unsent: Vec::new(),
            read: Vec::new(),
            last: 0,
            asked: None,
            abandoned: BTreeSet::new(),
            is_broken: false,
        }))
    }

    /// Asks and waits for the answer. Whoever stops waiting leaves the channel whole: the answer is passed over
    /// when it comes.
    pub(crate) async fn ask<C: Command>(&self, command: C) -> Result<C::Ok, ChannelError> {
        let mut line = self.0.lock().await;
        if line.is_broken {
            return Err(ChannelError::Broken);
        }
        let answer = line.ask(command).await;
        line.is_broken = !matches!(answer, Ok(_) | Err(ChannelError::Refused { .. }));
        answer
    }
}

impl Line {
    async fn ask<C: Command>(&mut self, command: C) -> Result<C::Ok, ChannelError> {
        self.abandoned.extend(self.asked.take());
        self.last += 1;
        let id = self.last;
        serde_json::to_writer(&mut self.unsent, &Execute::new(command, Some(id)))
            .map_err(io::Error::from)?;
        self.unsent.push(b'\n');
        self.asked = Some(id);
        while !self.unsent.is_empty() {
            let sent = self.socket.write(&self.unsent).await?;
            self.unsent.drain(..sent);
        }
        loop {
            let mut answer = self.answer(C::NAME).await?;
            match answer["id"].as_u64() {
                Some(of) if of == id => {
                    self.asked = None;
                    return read_answer::<C>(&mut answer);
                }
                Some(of) if self.abandoned.remove(&of) => {}
                _ => return Err(ChannelError::Unasked { command: C::NAME }),
            }
        }
    }

    /// The next line, which is an object.
    async fn answer(&mut self, command: &'static str) -> Result<Value, ChannelError> {
        let end = loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                break end;
            }
            if self.read.len() >= LONGEST_ANSWER {
                return Err(ChannelError::TooLong { command });
            }
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let malformed = |why: &dyn ToString| ChannelError::Malformed {
            command,
            why: words(&why.to_string()),
        };
        let answer: Value =
            serde_json::from_slice(&self.read[..end]).map_err(|error| malformed(&error))?;
        self.read.drain(..=end);
        if answer.is_object() {
            Ok(answer)
        } else {
            Err(malformed(&"it is no object"))
        }
    }
}

fn read_answer<C: Command>(answer: &mut Value) -> Result<C::Ok, ChannelError> {
    let command = C::NAME;
    if let Some(error) = answer.get("error") {
        let why = words(error["desc"].as_str().unwrap_or("without a word"));
        return Err(ChannelError::Refused { command, why });
    }
    serde_json::from_value(answer["return"].take()).map_err(|error| ChannelError::Malformed {
        command,
        why: words(&error.to_string()),
    })
}

/// The guest's words as they can be shown: few, and nothing that a terminal obeys.
fn words(said: &str) -> String {
    let shown = said.chars().filter(|c| !c.is_control());
    shown.take(MOST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use qapi::qga;
    use tokio::task::JoinHandle;

    use super::*;

    /// A guest that says `said` whatever it is asked, `times` times, and counts the bytes that were taken.
    fn guest(said: Vec<u8>, times: usize) -> (AgentChannel, JoinHandle<usize>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let guest = tokio::spawn(async move {
            let mut taken = 0;
            for _ in 0..times {
                match theirs.write(&said).await {
                    Ok(more) => taken += more,
                    Err(_) => return taken,
                }
            }
            // It listens until nobody speaks any more.
            while let Ok(1..) = theirs.read(&mut [0; 1 << 10]).await {}
            taken
        });
        (AgentChannel::new(ours), guest)
    }

    async fn error(said: &[u8], times: usize) -> String {
        let (channel, guest) = guest(said.to_vec(), times);
        let error = channel.ask(qga::guest_ping {}).await.unwrap_err();
        if !matches!(error, ChannelError::Refused { .. }) {
            let again = channel.ask(qga::guest_ping {}).await.unwrap_err();
            assert!(matches!(again, ChannelError::Broken), "{again}");
        }
        drop(channel);
        guest.await.unwrap();
        error.to_string()
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_by_what_it_is() {
        for (said, expected) in [
            (
                &b"\xff\xfe\n"[..],
                "the guest agent's answer to `guest-ping` is malformed: expected value at line 1 column 1",
            ),
            (
                b"[1]\n",
                "the guest agent's answer to `guest-ping` is malformed: it is no object",
            ),
            (
                b"{\"return\": 7, \"id\": 1}\n",
                "the guest agent's answer to `guest-ping` is malformed: invalid type: integer `7`, expected struct Empty",
            ),
            (
                b"{\"return\": {}, \"id\": 2}\n",
                "the guest agent answered something else than `guest-ping`, which it was asked",
            ),
            (
                b"{\"return\": {}}\n",
                "the guest agent answered something else than `guest-ping`, which it was asked",
            ),
            (
                b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"\\u001b[2Jno\"}, \"id\": 1}\n",
                "the guest agent refused `guest-ping`: [2Jno",
            ),
        ] {
            assert_eq!(error(said, 1).await, expected);
        }
        let deep = [&b"["[..]; 8000].concat();
        assert!(
            error(&[&deep[..], b"\n"].concat(), 1)
                .await
                .contains("recursion limit")
        );
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off_and_no_more_of_it_is_taken_than_a_socket_holds() {
        let (channel, guest) = guest(vec![b'x'; 64 << 10], 1 << 20);
        let error = channel.ask(qga::guest_ping {}).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guest agent's answer to `guest-ping` is longer than 16384 bytes"
        );
        let held = channel.0.lock().await.read.capacity();
        assert!(held <= 4 * LONGEST_ANSWER, "{held} bytes of it are held");
        drop(channel);
        let taken = guest.await.unwrap();
        assert!(taken < 2 << 20, "{taken} bytes were taken");
    }

    #[tokio::test]
    async fn many_answers_to_one_question_are_not_many_answers() {
        let flood = b"{\"return\": {}, \"id\": 1}\n".repeat(1000);
        let (channel, _guest) = guest(flood, 1000);
        channel.ask(qga::guest_ping {}).await.unwrap();
        let error = channel.ask(qga::guest_ping {}).await.unwrap_err();
        assert!(matches!(error, ChannelError::Unasked { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_any_more_leaves_the_channel_in_step() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let channel = AgentChannel::new(ours);
        let asked = channel.ask(qga::guest_sync { id: 5 });
        tokio::time::timeout(Duration::from_millis(20), asked)
            .await
            .unwrap_err();
        theirs
            .write_all(b"{\"return\": 5, \"id\": 1}\n{\"return\": 6, \"id\": 2}\n")
            .await
            .unwrap();
        assert_eq!(channel.ask(qga::guest_sync { id: 6 }).await.unwrap(), 6);
    }
}
