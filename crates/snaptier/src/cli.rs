//! The command `snaptier`.

mod args;
mod console;
mod doctor;
mod exit;
mod explain;
mod failure;
mod gc;
mod get;
mod image;
mod key;
mod leaving;
mod ls;
mod outbox;
mod progress;
mod pull;
mod push;
mod remote;
mod rm;
mod run;
mod stats;
mod table;
mod verify;
mod wiring;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::args::{Cli, Command, Global};
use self::console::Console;
use self::exit::Exit;
use self::failure::Failure;

/// How long what was interrupted may take to clean up.
const CLEANING_UP: Duration = Duration::from_secs(10);

/// Does what the command line says, and gives the exit code.
pub(crate) fn main() -> u8 {
    let Cli { global, command } = Cli::of_process();
    let console = Console::new(&global);
    console.log(&global);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.fail(&Failure::new(Exit::Host, &error));
            return Exit::Host as u8;
        }
    };
    let (code, caches) = runtime.block_on(async {
        // Dropping the command's future is what stops its machines and removes what it has staged.
        let code = tokio::select! {
            done = execute(&global, command, &console) => done.unwrap_or_else(|failure| {
                console.fail(&failure);
                failure.exit as u8
            }),
            exit = signalled() => exit as u8,
        };
        (code, leaving::leave(CLEANING_UP).await)
    });
    // A build that was interrupted is over, and counted as such, when the task that drops it is.
    runtime.shutdown_timeout(CLEANING_UP);
    stats::count(&caches);
    code
}

async fn execute(global: &Global, command: Command, console: &Console) -> Result<u8, Failure> {
    match command {
        Command::Key(request) => key::key(global, &request, console).await?,
        Command::Explain(request) => return explain::explain(global, &request, console).await,
        Command::Get(request) => get::get(global, &request, console).await?,
        Command::Run { request, argv } => {
            return run::run(global, &request, argv, console).await;
        }
        Command::Ls => ls::ls(global, console).await?,
        Command::Rm { keys } => rm::rm(global, &keys, console).await?,
        Command::Gc { dry_run } => gc::gc(global, dry_run, console).await?,
        Command::Verify { keys, .. } => return verify::verify(global, &keys, console).await,
        Command::Push { keys } => push::push(global, &keys, console).await?,
        Command::Pull(request) => pull::pull(global, &request, console).await?,
        Command::Remote(command) => return remote::remote(global, command, console).await,
        Command::Outbox(command) => return outbox::outbox(global, command, console).await,
        Command::Stats { reset } => stats::stats(global, reset, console)?,
        Command::Doctor => return doctor::doctor(global, console).await,
        Command::Image(command) => image::image(global, command, console).await?,
    }
    Ok(Exit::Done as u8)
}

/// Waits for the signal to stop.
async fn signalled() -> Exit {
    let listen = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            // Then the signal has its default effect, which is to end the process.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = listen(SignalKind::interrupt()) => Exit::Interrupted,
        _ = listen(SignalKind::terminate()) => Exit::Terminated,
    }
}
