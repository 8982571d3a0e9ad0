use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::bucket::agent;
use super::{Keys, Protocol, ServerError, Shelf, Site, StoreServer, ports};

/// A server that is about to be started in a directory.
pub(super) struct Launch {
    server: &'static dyn StoreServer,
    program: PathBuf,
    dir: PathBuf,
}

/// How long a server may take until it answers. The slowest takes seconds, on a busy host several.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server gives no sign when it listens, so it is asked, ever more rarely.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Another process may take a port before the server does.
const TRIES: usize = 3;

/// Started and answering.
pub(super) struct Launched<P> {
    pub(super) process: P,
    pub(super) endpoint: String,
    pub(super) keys: Option<Keys>,
}

/// A process as far as a launch is concerned.
pub(super) trait Launchee {
    fn id(&self) -> u32;
    fn has_ended(&mut self) -> bool;
}

impl Launch {
    pub(super) fn new(
        shelf: &Shelf,
        server: &'static dyn StoreServer,
        dir: &Path,
    ) -> Result<Self, ServerError> {
        let program = shelf.install(server)?;
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(ServerError::io("make", &data))?;
        let dir = fs::canonicalize(dir).map_err(ServerError::io("find", dir))?;
        Ok(Self {
            server,
            program,
            dir,
        })
    }

    /// Starts it by `spawn` and waits until it answers.
    pub(super) fn run<P: Launchee>(
        &self,
        spawn: impl Fn(Command) -> std::io::Result<P>,
    ) -> Result<Launched<P>, ServerError> {
        let mut tries = 1..=TRIES;
        loop {
            let site = self.site();
            let command = self.command(&site)?;
            let process = spawn(command).map_err(ServerError::io("start", &self.program))?;
            match self.until_ready(process, &site) {
                Err(Unready::Ended) if tries.next().is_some() => {}
                Err(unready) => return Err(self.error(&unready)),
                Ok(process) => {
                    let keys = match self.server.protocol() {
                        Protocol::S3 => Some(site.keys.clone()),
                        Protocol::Gcs => None,
                    };
                    return Ok(Launched {
                        process,
                        endpoint: endpoint(&site),
                        keys,
                    });
                }
            }
        }
    }

    fn site(&self) -> Site {
        Site {
            dir: self.dir.clone(),
            data: self.dir.join("data"),
            ports: ports::free(self.server.ports()),
            keys: Keys::of_tests(),
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn command(&self, site: &Site) -> Result<Command, ServerError> {
        let command = self.server.command(&self.program, site);
        let mut command = command.map_err(ServerError::io("configure", &self.dir))?;
        let path = self.log();
        let log = File::create(&path).and_then(|log| Ok((log.try_clone()?, log)));
        let (stdout, stderr) = log.map_err(ServerError::io("write", &path))?;
        command.current_dir(&self.dir).stdout(stdout).stderr(stderr);
        Ok(command)
    }

    fn until_ready<P: Launchee>(&self, mut process: P, site: &Site) -> Result<P, Unready> {
        let url = format!("{}{}", endpoint(site), self.server.ready_path());
        let (agent, began, mut wait) = (agent(), Instant::now(), FIRST_WAIT);
        loop {
            // An answer proves nothing as long as it may be another process's.
            if ports::is_listener(process.id(), site.port())
                && agent
                    .get(&url)
                    .call()
                    .is_ok_and(|answer| answer.status().as_u16() < 500)
            {
                return Ok(process);
            }
            if process.has_ended() {
                return Err(Unready::Ended);
            }
            if began.elapsed() > PATIENCE {
                return Err(Unready::Mute);
            }
            std::thread::sleep(wait);
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    fn error(&self, unready: &Unready) -> ServerError {
        let why = match unready {
            Unready::Ended => format!("it ended at once, {TRIES} times"),
            Unready::Mute => format!("it did not answer for {} s", PATIENCE.as_secs()),
        };
        ServerError::Start {
            server: self.server.name(),
            why,
            log: self.log(),
        }
    }
}

enum Unready {
    Ended,
    Mute,
}

fn endpoint(site: &Site) -> String {
    format!("http://127.0.0.1:{}", site.port())
}
