//! A process that is killed, which no cancelled future stands in for: nothing of it runs any more, and the kernel takes
//! its locks.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cache_layer::CacheLayer;

use super::case::{Case, LOOK_AGAIN, SOON};
use super::deviation::{Deviation, doing, require};
use super::{Directory, Place, runtime};

/// The directory of the layer, for the process that is to be killed.
const DIRECTORY: &str = "CACHE_LAYER_TESTKIT_DIRECTORY";
/// What that process says when it begins a put.
const PUTTING: &str = "cache-layer-testkit: putting";
const KILLS: usize = 8;
/// A put of 6 MiB lasts about this long; what it is in at a random moment of it is as random.
const LONGEST_WAIT: Duration = Duration::from_millis(25);

/// Has another process put and remove entries in a directory, kills it in the midst of that, several times, and looks
/// at what is left: whole entries or none, and an empty staging directory.
///
/// The other process is this program again, told to run one test: `test` is that test's path, as `module_path!` begins
/// it, and calls this function with the same arguments. There it does not return. The layer is opened here first.
///
/// # Errors
///
/// The layer leaves something else, or the process ends before it is killed.
pub fn a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none<F, L>(
    test: &str,
    open: F,
) -> Result<(), Deviation>
where
    F: Fn(&Path) -> L + Send + Sync + 'static,
    L: CacheLayer + 'static,
{
    if let Some(dir) = env::var_os(DIRECTORY) {
        return put_until_killed(Directory::of(PathBuf::from(dir), open));
    }
    // The harness knows its tests by their paths without the crate's name.
    let test = test.split_once("::").map_or(test, |(_, test)| test);
    let place = Arc::new(Directory::new(open));
    let mut random = fastrand::Rng::with_seed(7);
    let name = "a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none";
    let here = || runtime().block_on(look(place.clone()));
    // Whatever opening the place for the first time sets up is there for the other process.
    here().map_err(|deviation| deviation.in_behaviour(name))?;
    for _ in 0..KILLS {
        let puts = random.usize(1..4);
        let wait = LONGEST_WAIT.mul_f64(random.f64());
        let killed = kill_after(test, place.path(), puts, wait);
        killed
            .and_then(|()| here())
            .map_err(|deviation| deviation.in_behaviour(name))?;
    }
    Ok(())
}

/// What the other process puts, over and over.
const PACKAGES: [&str; 2] = ["a==1", "b==1"];

fn put_until_killed<P: Place + 'static>(place: P) -> Result<(), Deviation> {
    // Whoever is to kill us has the other end, and may die first.
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    });
    runtime().block_on(async {
        let case = Case::at(Arc::new(place)).await?;
        loop {
            for package in PACKAGES {
                let spec = case.spec(package);
                let made = doing("making a snapshot", case.workshop().large_snapshot(&spec))?;
                // Not by a macro, whose output the harness keeps to itself.
                let mut out = io::stdout();
                doing(
                    "telling",
                    writeln!(out, "\n{PUTTING}").and_then(|()| out.flush()),
                )?;
                case.put(&made).await?;
                case.remove(&spec.key()).await?;
            }
        }
    })
}

/// Starts the other process and kills it a while after it has begun its first few puts.
fn kill_after(test: &str, dir: &Path, puts: usize, wait: Duration) -> Result<(), Deviation> {
    let program = doing("finding this program", env::current_exe())?;
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = KilledOnDrop(doing("starting this program again", command.spawn())?);
    let output = child.0.stdout.take().map(BufReader::new);
    let lines = output.into_iter().flat_map(BufRead::lines);
    let begun = lines.map_while(Result::ok).filter(|line| line == PUTTING);
    let begun = begun.take(puts).count();
    require(begun == puts, || {
        format!("the process that runs the test `{test}` ends by itself after {begun} puts")
    })?;
    // Not to wait for anything, but to come at another moment each time.
    thread::sleep(wait);
    Ok(())
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is there is whole, what is not can be put, and what the dead process had staged is gone.
async fn look<P: Place + 'static>(place: Arc<P>) -> Result<(), Deviation> {
    let case = Case::at(place.clone()).await?;
    for package in PACKAGES {
        let spec = case.spec(package);
        case.hit_or_miss(&spec).await?;
        let made = case.put_new(&spec).await?;
        case.hit(&spec).await?;
        drop(made);
        case.remove(&spec.key()).await?;
        case.miss(&spec).await?;
    }
    // A program that the dead process was just starting has its locks until it has begun in earnest, so that the first
    // who opens the directory may come too early to sweep.
    let began = Instant::now();
    loop {
        let workshop = doing("opening staging", place.workshop())?;
        let left = doing("reading staging", workshop.staged_files())?;
        let Some(file) = left.first() else {
            return Ok(());
        };
        require(began.elapsed() < SOON, || {
            let file = file.display();
            format!("`{file}`, which a dead process had staged, is not swept")
        })?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
