//! Several processes, one outbox.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::child::{self, PACKAGE, gate};
use crate::retries::leave_to;
use crate::scene::{Failing, Scene, paused};

pub(crate) fn each_once() {
    for _ in 0..5 {
        paused(async {
            let scene = Scene::new();
            let outbox = scene.outbox();
            // For the remote layer of the children.
            let remote = Failing::with([]).shown_as(&scene.remote());
            leave_to(&scene, &outbox, remote).await;
            let children: Vec<_> = (0..4)
                .map(|_| child::command("resume", scene.path()).spawn().unwrap())
                .collect();
            for mut child in children {
                assert!(child.wait().unwrap().success());
            }
            for package in ["a==1", "b==1", "c==1"] {
                let key = scene.spec(package).key();
                assert_eq!(scene.remote().stored(&key), 1, "{package}");
            }
            assert_eq!(outbox.pending().await.unwrap(), []);
        });
    }
}

pub(crate) fn taken_up() {
    let scene = Scene::new();
    let made = Command::new("mkfifo").arg(gate(scene.path())).status();
    assert!(made.unwrap().success());
    let mut uploading = child::command("get-gated", scene.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(uploading.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "built\n");
    // It opened the pipe, to read from it: the upload is under way, for as long as this is open.
    let held = fs::OpenOptions::new()
        .write(true)
        .open(gate(scene.path()))
        .unwrap();
    let resume = || {
        let next = child::command("resume", scene.path()).output().unwrap();
        assert!(next.status.success(), "{next:?}");
        scene.remote().stored(&scene.spec(PACKAGE).key())
    };
    assert_eq!(resume(), 0, "a living process is at it");
    assert_eq!(scene.notes().len(), 1);
    uploading.kill().unwrap();
    uploading.wait().unwrap();
    assert_eq!(resume(), 1);
    assert_eq!(scene.notes(), [] as [&str; 0]);
    drop(held);
}
