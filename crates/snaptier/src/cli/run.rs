use std::io::{self, Read, Write};

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use vm_builder::{GuestCommand, OutputStream};

use super::args::{Global, Request};
use super::console::Console;
use super::failure::Failure;
use super::get::upload;
use super::wiring::{open, packages};

/// Runs a command on top of a snapshot and gives its exit code.
pub(crate) async fn run(
    global: &Global,
    request: &Request,
    argv: Vec<String>,
    console: &Console,
) -> Result<u8, Failure> {
    let packages = packages(request)?;
    let cache = open(global, console)?;
    let answer = cache.get(&packages).await?;
    let mut input = StreamReader::new(Box::pin(stdin()));
    let command = GuestCommand {
        argv,
        network: None,
        input: Some(&mut input),
        output: &mut pass_on,
    };
    let exit = cache.run(&answer.snapshot, command).await?;
    upload(&cache).await;
    Ok(exit.code())
}

fn pass_on(stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        OutputStream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        OutputStream::Stderr => io::stderr().write_all(bytes),
    }
}

/// Standard input, read on a thread of its own: nothing waits for it at the end.
fn stdin() -> impl stream::Stream<Item = io::Result<Bytes>> {
    let (send, mut receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0; 1 << 16];
        loop {
            let read = stdin.read(&mut buffer);
            let is_last = !matches!(read, Ok(1..));
            let chunk = read.map(|length| Bytes::copy_from_slice(&buffer[..length]));
            if send.blocking_send(chunk).is_err() || is_last {
                return;
            }
        }
    });
    stream::poll_fn(move |context| receive.poll_recv(context))
}
