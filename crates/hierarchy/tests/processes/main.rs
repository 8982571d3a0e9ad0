//! One build per key among processes.
//!
//! The test binary is the process too: with `child` as its first argument it asks for a snapshot many times and ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "that is how a child answers")]

mod child;
#[path = "../hierarchy/common.rs"]
#[expect(dead_code, reason = "shared with the tests of one process")]
mod common;
mod gate;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use libtest_mimic::{Arguments, Trial};

use crate::gate::Gate;

const PROCESSES: usize = 4;
const TASKS: usize = 64;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "child") {
        return child::run(Path::new(&args[1]));
    }
    let trial = |name, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = [
        trial(
            "sixty_four_tasks_in_each_of_four_processes_share_one_build",
            share_one_build,
        ),
        trial(
            "when_the_process_that_builds_is_killed_another_one_builds",
            survive_a_kill,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

fn share_one_build() {
    let root = tempfile::tempdir().unwrap();
    let mut gate = Gate::at(root.path());
    let askers = Askers::start(root.path());

    // All have asked, and one of them builds, when it is let go.
    drop(gate.next_build());
    let paths = askers.answered();

    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(builds(root.path()), 1);
    assert!(!gate.is_anybody_waiting());
}

fn survive_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let mut gate = Gate::at(root.path());
    let mut askers = Askers::start(root.path());

    let first = gate.next_build();
    askers.kill(first.process);
    let second = gate.next_build();
    assert_ne!(first.process, second.process);
    drop((first, second));
    let paths = askers.answered();

    assert_eq!(paths.len(), 1, "{paths:?}");
    assert_eq!(builds(root.path()), 2);
    assert!(!gate.is_anybody_waiting());
}

/// How many builds began.
fn builds(root: &Path) -> usize {
    let lines = std::fs::read_to_string(child::builds(root)).unwrap();
    lines.lines().count()
}

/// Processes that all ask for one snapshot, and have all missed it.
struct Askers(Vec<(Child, BufReader<ChildStdout>)>);

impl Askers {
    fn start(root: &Path) -> Self {
        let start = |_| {
            let mut process = Command::new(std::env::current_exe().unwrap())
                .arg("child")
                .arg(root)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let said = BufReader::new(process.stdout.take().unwrap());
            (process, said)
        };
        let mut askers: Vec<_> = (0..PROCESSES).map(start).collect();
        for (_, said) in &mut askers {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert_eq!(line, "asked\n");
        }
        Self(askers)
    }

    fn kill(&mut self, process: u32) {
        let place = self.0.iter().position(|(child, _)| child.id() == process);
        let (mut child, _) = self.0.swap_remove(place.unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for all answers, and gives the paths in them.
    fn answered(self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for (mut process, said) in self.0 {
            let answers: Vec<_> = said.lines().map(Result::unwrap).collect();
            assert_eq!(answers.len(), TASKS, "{answers:?}");
            paths.extend(answers);
            assert!(process.wait().unwrap().success());
        }
        paths
    }
}
