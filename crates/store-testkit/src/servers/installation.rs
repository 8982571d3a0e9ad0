use std::env;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Output;

use super::process::tied_output;
use super::source::Step;
use super::{ServerError, StoreServer};

/// The directory where servers are installed, each once.
///
/// Any number of processes may install at the same time: one does it, the others wait for it. An installation
/// that was broken off is made anew, and so is one that has been moved, since what Python installs knows its
/// own path.
#[derive(Debug, Clone)]
pub struct Shelf {
    root: PathBuf,
}

/// Lines of a failed installer's output that are told.
const KEPT_LINES: usize = 15;

impl Shelf {
    /// `servers/` in the workspace's target directory.
    #[must_use]
    pub fn of_workspace() -> Self {
        // This crate's folder is two below the workspace's.
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
            || workspace.unwrap_or(Path::new("/")).join("target"),
            PathBuf::from,
        );
        Self::new(&target.join("servers"))
    }

    /// The directory `root`, made when something is installed.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's program, installed if it has not been.
    ///
    /// This can take minutes, the first time.
    ///
    /// # Errors
    ///
    /// The installer is not there or fails; the message says what it needs.
    pub fn install(&self, server: &dyn StoreServer) -> Result<PathBuf, ServerError> {
        fs::create_dir_all(&self.root).map_err(ServerError::io("make", &self.root))?;
        let root = fs::canonicalize(&self.root).map_err(ServerError::io("find", &self.root))?;
        let dir = root.join(format!("{}-{}", server.name(), server.source().version()));
        let _lock = lock(&root.join(format!("{}.lock", server.name())))?;
        if !is_whole(&dir) {
            remove(&dir)?;
            for step in server.source().steps(&dir) {
                run(server.name(), step)?;
            }
        }
        let program = server.program(&dir);
        let program = program.map_err(ServerError::io("find its program in", &dir))?;
        // The marker comes last: without it everything above is done again.
        let marker = marker(&dir);
        fs::write(&marker, dir.as_os_str().as_encoded_bytes())
            .map_err(ServerError::io("write", &marker))?;
        Ok(program)
    }
}

fn marker(dir: &Path) -> PathBuf {
    dir.join("installed-at")
}

fn is_whole(dir: &Path) -> bool {
    fs::read(marker(dir)).is_ok_and(|path| path == dir.as_os_str().as_encoded_bytes())
}

fn remove(dir: &Path) -> Result<(), ServerError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ServerError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Waits until nobody else holds it. The file stays: to unlink it would let two hold it.
fn lock(path: &Path) -> Result<File, ServerError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ServerError::io("open", path))?;
    file.lock().map_err(ServerError::io("lock", path))?;
    Ok(file)
}

fn run(server: &'static str, step: Step) -> Result<(), ServerError> {
    let Step {
        mut command,
        remedy,
    } = step;
    // Were it to outlive us, the next one to hold the lock would meet it at work.
    let output = tied_output(&mut command);
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => format!("{}: {}", output.status, last_lines(&output)),
        Err(error) => error.to_string(),
    };
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>();
    Err(ServerError::Install {
        server,
        command: words.join(" "),
        why,
        remedy,
    })
}

fn last_lines(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")
}
