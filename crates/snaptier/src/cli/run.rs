mod output;

use std::io::{self, Read};
use std::panic::resume_unwind;

use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vm_builder::GuestCommand;

use self::output::Output;
use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
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
    let stop = CancellationToken::new();
    let (output, written) = Output::start(stop.clone());
    // A task of its own: it stands still while nobody reads the output, and a signal is to be heard then too.
    let machine = AbortOnDropHandle::new(tokio::spawn({
        let cache = cache.clone();
        async move {
            let mut input = StreamReader::new(Box::pin(stdin()));
            let command = GuestCommand {
                argv,
                network: None,
                input: Some(&mut input),
                output: &mut |stream, bytes| output.take(stream, bytes),
            };
            cache.run(&answer.snapshot, command).await
        }
    }));
    let _stop = stop.drop_guard();
    let ended = machine.await;
    let ended = ended.unwrap_or_else(|error| resume_unwind(error.into_panic()));
    let code = match written.end().await {
        Ok(()) => ended?.code(),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Unread as u8,
        Err(error) => {
            let message = format!("write the command's output: {error}");
            return Err(Failure::of_text(Exit::Host, message));
        }
    };
    upload(&cache).await;
    Ok(code)
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
