//! What a `get` would do, told and not done.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use store_testkit::servers::{S3sFs, for_test};

use crate::host::{Host, Said, python_image};

const SIX: [&str; 3] = ["explain", "python", "six==1.16.0"];

/// What there is in a directory: names, and when each was last modified.
fn seen(dir: &Path) -> Vec<(String, SystemTime)> {
    let mut seen: Vec<_> = dir
        .read_dir()
        .into_iter()
        .flatten()
        .map(|entry| {
            let entry = entry.unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            (entry.file_name().into_string().unwrap(), modified)
        })
        .collect();
    seen.sort();
    seen
}

impl Host {
    /// What is explained and how it ends; nothing may be otherwise in the cache afterwards.
    fn explained(&self, args: &[&str]) -> (Option<i32>, Value) {
        let before = seen(&self.cache_dir());
        let said = self.says(&[args, &["--json"]].concat());
        assert_eq!(
            seen(&self.cache_dir()),
            before,
            "explaining changed something"
        );
        (said.code, serde_json::from_str(&said.stdout).unwrap())
    }
}

#[test]
fn what_nobody_has_would_be_built_and_nothing_is_made_meanwhile() {
    let host = Host::new();
    let (code, explained) = host.explained(&SIX);
    assert_eq!(code, Some(7), "{explained}");
    assert_eq!(explained["next"]["action"], "build");
    let disk = &explained["tiers"][0];
    assert_eq!(
        (&disk["answer"], &disk["reason"]),
        (&json!("miss"), &json!("absent"))
    );
    assert!(!host.cache_dir().exists());

    let said = host.says(&SIX);
    let key = host.json(&["key", "python", "six==1.16.0"]);
    for line in [
        format!("key       {}", key["key"].as_str().unwrap()),
        "language  python".to_owned(),
        "packages  six==1.16".to_owned(),
        format!("base      {}", key["base_image"].as_str().unwrap()),
        format!("l2-disk({})", host.cache_dir().display()),
        "it was never put, or is gone again".to_owned(),
        "next      it would be built by vm-builder; its base image is there".to_owned(),
    ] {
        assert!(said.stdout.contains(&line), "{line}: {said:?}");
    }
    let image_dir = python_image().display().to_string();
    assert!(said.stdout.contains(&image_dir), "{said:?}");
}

#[test]
fn a_hit_is_told_is_no_use_of_it_and_one_that_rotted_is_told_with_what_is_wrong() {
    let host = Host::new();
    let got = host.json(&["get", "python"]);
    let (code, explained) = host.explained(&["explain", "python"]);
    assert_eq!(code, Some(0), "{explained}");
    assert_eq!(explained["key"], got["key"]);
    assert_eq!(explained["next"]["action"], "answer");
    let disk = &explained["tiers"][0];
    assert_eq!(
        (&disk["answer"], &disk["reason"]),
        (&json!("hit"), &Value::Null)
    );

    let path = Path::new(got["path"].as_str().unwrap());
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    // In the space between the header and the tables.
    file.write_all_at(b"rot", 0x8000).unwrap();
    let (code, explained) = host.explained(&["explain", "python"]);
    assert_eq!(code, Some(7), "{explained}");
    let disk = &explained["tiers"][0];
    assert_eq!(disk["reason"], "corrupt");
    let why = "its bytes are not those of its manifest";
    assert_eq!(disk["why"], why);
}

#[test]
fn without_a_base_image_the_key_is_not_known_and_the_image_would_be_made_first() {
    let (host, none) = (Host::new(), tempfile::tempdir().unwrap());
    let explain = |language| {
        let said =
            Said::of(host.snaptier_with_images(none.path(), &["explain", language, "--json"]));
        assert_eq!(said.code, Some(7), "{said:?}");
        serde_json::from_str::<Value>(&said.stdout).unwrap()
    };
    let python = explain("python");
    assert_eq!(
        (&python["key"], &python["tiers"], &python["next"]["action"]),
        (&Value::Null, &json!([]), &json!("make-image"))
    );
    assert_eq!(none.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_store_that_has_it_would_be_asked_and_one_that_refuses_is_no_miss() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = for_test(&S3sFs, dir.path()) else {
        return;
    };
    let bucket = server.make_bucket("shared").unwrap();
    let host = Host::new();
    let built = host.json(&["get", "python", "six==1.16.0"]);
    let key = built["key"].as_str().unwrap();
    let snaptier = |args: &[&str]| {
        let mut command = host.snaptier(args);
        command
            .envs(bucket.environment())
            .env("SNAPTIER_REMOTE", bucket.remote_uri("team"));
        command
    };
    let explain = [&SIX[..], &["--json"]].concat();
    let explained = |said: &Said| serde_json::from_str::<Value>(&said.stdout).unwrap();

    // As this disk has it, the store need not.
    let said = Said::of(snaptier(&explain));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(explained(&said)["tiers"][1]["reason"], "absent");

    Said::of(snaptier(&["push", key])).answer();
    host.says(&["rm", key]).answer();
    let said = Said::of(snaptier(&explain));
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = explained(&said);
    assert_eq!(
        (&told["tiers"][0]["answer"], &told["tiers"][1]["answer"]),
        (&json!("miss"), &json!("hit"))
    );
    assert_eq!(told["next"]["action"], "fetch");
    assert_eq!(host.entries(), [] as [&str; 0]);

    let mut refused = snaptier(&explain);
    refused.env("AWS_SECRET_ACCESS_KEY", "another");
    let said = Said::of(refused);
    assert_eq!(said.code, Some(7), "{said:?}");
    let told = explained(&said);
    let store = &told["tiers"][1];
    assert_eq!(
        (&store["answer"], &store["reason"]),
        (&json!("error"), &json!("denied"))
    );
    assert_eq!(told["next"]["action"], "build");
}

#[test]
fn what_is_no_request_is_told_as_for_any_other_command() {
    let host = Host::new();
    let said = host.says(&["explain", "python", "six"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("not pinned"), "{said:?}");
}
