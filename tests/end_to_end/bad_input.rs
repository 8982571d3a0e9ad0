//! What nobody can answer: exit code 2 and one line that names the word and shows the right form.

use crate::host::{Host, Said};

#[test]
fn a_bad_request_is_told_in_one_line_that_names_the_word_and_shows_the_right_form() {
    let host = Host::new();
    for (args, word, form) in [
        (
            &["get", "cobol"][..],
            "`cobol`",
            "python, javascript or raw",
        ),
        (
            &["get", "python", "requests"],
            "`requests`",
            "requests==2.32.3",
        ),
        (
            &["get", "python", "requests>=2"],
            "`requests>=2`",
            "requests==",
        ),
        (&["key", "python", "re quests==1"], "`re quests==1`", "=="),
        (
            &["get", "python", "requests==2.32.3", "Requests==2.31.0"],
            "`requests`",
            "2.32.3 and 2.31: give one",
        ),
        (
            &["get", "raw", "requests==2.32.3"],
            "`requests==2.32.3`",
            "give no packages",
        ),
        (
            &["run", "javascript", "lodash", "--", "node"],
            "`lodash`",
            "lodash@",
        ),
        (
            &["--remote", "ftp://b", "get", "python"],
            "`ftp://b`",
            "s3://BUCKET/PREFIX",
        ),
        (
            &["image", "build", "cobol"],
            "`cobol`",
            "python, javascript or raw",
        ),
    ] {
        let said = host.says(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert_eq!(said.stdout, "");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(said.stderr.starts_with("error: "), "{said:?}");
        assert!(
            said.stderr.contains(word) && said.stderr.contains(form),
            "{said:?}"
        );
    }
    assert_eq!(host.entries(), [] as [&str; 0]);
}

#[test]
fn an_error_can_be_had_as_json() {
    let said = Host::new().says(&["get", "python", "requests", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!(error["exit_code"], 2);
    assert!(error["error"].as_str().unwrap().contains("`requests`"));
}

#[test]
fn the_help_lists_the_exit_codes() {
    let said = Host::new().says(&["--help"]);
    for line in ["0    done", "2    the request is wrong", "130  interrupted"] {
        assert!(said.answer().contains(line), "{line}");
    }
}

#[test]
fn a_key_without_a_base_image_says_how_to_make_one() {
    let host = Host::new();
    let mut command = host.snaptier_with_images(&host.cache_dir(), &["key", "python"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr.contains("hint: make it with `snaptier image build python`"),
        "{stderr}"
    );
}

#[test]
fn a_host_to_allow_that_is_none_is_a_bad_option_before_anything_is_done() {
    let host = Host::new();
    for bad in ["https://x.example/", ""] {
        let said = host.says(&["--allow-host", bad, "get", "python"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains("--allow-host"), "{said:?}");
    }
    let mut command = host.snaptier(&["get", "python"]);
    command.env("SNAPTIER_ALLOW_HOSTS", "x.example,https://y.example/");
    let said = Said::of(command);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("https://y.example/"), "{said:?}");
    assert!(!host.cache_dir().exists());
}

#[test]
fn an_empty_variable_is_none() {
    let host = Host::new();
    let rules = ["--remote=s3://b/p?region=r", "remote", "lifecycle"];
    for args in [&["key", "python"][..], &rules] {
        let expected = host.says(args);
        let mut command = host.snaptier(args);
        for variable in [
            "MAX_SIZE",
            "MIN_FREE",
            "IMAGE",
            "REMOTE",
            "MAX_CONCURRENT_UPLOADS",
            "ALLOW_HOSTS",
            "PYTHON_INDEX",
            "NPM_REGISTRY",
            "CA_BUNDLE",
            "QEMU_USER",
            "VM_DISK_LIMIT",
            "DEBIAN_MIRROR",
            "TTL_DAYS",
        ] {
            command.env(format!("SNAPTIER_{variable}"), "");
        }
        assert_eq!(Said::of(command).answer(), expected.answer());
    }
}
