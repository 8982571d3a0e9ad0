//! Which words are packages, and what is said of those that are not.

use cache_key::{Language, PackageSet};

fn parse(language: Language, words: &[&str]) -> Result<String, String> {
    PackageSet::parse(language, words)
        .map(|set| set.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn python_requirements_become_canonical() {
    for (words, canonical) in [
        (&["Requests==2.32.3"][..], "requests==2.32.3"),
        (
            &["zope.interface==6.0", "Foo__Bar==1"],
            "foo-bar==1 zope-interface==6",
        ),
        (&[" requests == 2.32.3 "], "requests==2.32.3"),
        (&["a==1.0", "a==1.0.0"], "a==1"),
        (&["a==0.0"], "a==0"),
        (&["a==1.0-1"], "a==1.post1"),
        (&["a==1.0RC1"], "a==1rc1"),
        (&["torch==2.1.0+CPU"], "torch==2.1+cpu"),
        (&["a==1!2.0"], "a==1!2"),
        (
            &["requests[Socks, security]==2.0.1"],
            "requests[security,socks]==2.0.1",
        ),
        (&["r[b]==1", "R[a]==1"], "r[a,b]==1"),
        (&["r[]==1"], "r==1"),
    ] {
        assert_eq!(
            parse(Language::Python, words).as_deref(),
            Ok(canonical),
            "{words:?}"
        );
    }
}

#[test]
fn javascript_requirements_become_canonical() {
    for (words, canonical) in [
        (&["lodash@4.17.21"][..], "lodash@4.17.21"),
        (
            &["lodash@4.17.21", "@types/node@20.1.0"],
            "@types/node@20.1.0 lodash@4.17.21",
        ),
        (&["JSONStream@1.3.5"], "JSONStream@1.3.5"),
        (&["a@1.0.0-beta.1+build5"], "a@1.0.0-beta.1"),
        (&["a@1.0.0", "a@1.0.0"], "a@1.0.0"),
    ] {
        assert_eq!(
            parse(Language::Javascript, words).as_deref(),
            Ok(canonical),
            "{words:?}"
        );
    }
}

#[test]
fn a_word_that_is_no_pinned_python_package_is_named_with_the_right_form() {
    let form = "write NAME==VERSION, for example `requests==2.32.3`";
    let pin = |name: &str| format!("write `{name}==VERSION`, for example `requests==2.32.3`");
    for (word, message) in [
        (
            "requests",
            format!(
                "package `requests` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "requests>=2",
            format!(
                "package `requests>=2` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "requests==2.*",
            format!(
                "package `requests==2.*` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "requests===2",
            format!(
                "package `requests===2` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "requests=2",
            format!(
                "package `requests=2` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "requests==1,<2",
            format!(
                "package `requests==1,<2` is not pinned to one version: {}",
                pin("requests")
            ),
        ),
        (
            "a==1; os_name=='nt'",
            format!(
                "package `a==1; os_name==\\'nt\\'` is not pinned to one version: {}",
                pin("a")
            ),
        ),
        (
            "requests==",
            format!("package `requests==` has no valid version: {form}"),
        ),
        (
            "requests==abc",
            format!("package `requests==abc` has no valid version: {form}"),
        ),
        (
            "a @ https://packages.example/a.whl",
            format!("`a @ https://packages.example/a.whl` is not a package: {form}"),
        ),
        ("", format!("`` is not a package: {form}")),
        ("-r", format!("`-r` is not a package: {form}")),
        (
            "--index-url==1",
            format!("`--index-url==1` is not a package: {form}"),
        ),
        ("../x==1", format!("`../x==1` is not a package: {form}")),
        ("a b==1", format!("`a b==1` is not a package: {form}")),
        ("a\nb==1", format!("`a\\nb==1` is not a package: {form}")),
        ("r[a==1", format!("`r[a==1` is not a package: {form}")),
        (
            "réquests==1",
            format!("`réquests==1` is not a package: {form}"),
        ),
    ] {
        assert_eq!(parse(Language::Python, &[word]), Err(message), "{word:?}");
    }
}

#[test]
fn a_word_that_is_no_pinned_javascript_package_is_named_with_the_right_form() {
    let form = "write NAME@VERSION, for example `lodash@4.17.21` or `@types/node@20.1.0`";
    let pin = |name: &str| format!("write `{name}@VERSION`, for example `lodash@4.17.21`");
    for (word, message) in [
        (
            "lodash",
            format!(
                "package `lodash` is not pinned to one version: {}",
                pin("lodash")
            ),
        ),
        (
            "@types/node",
            format!(
                "package `@types/node` is not pinned to one version: {}",
                pin("@types/node")
            ),
        ),
        (
            "lodash@^4",
            format!(
                "package `lodash@^4` is not pinned to one version: {}",
                pin("lodash")
            ),
        ),
        (
            "lodash@4.17",
            format!(
                "package `lodash@4.17` is not pinned to one version: {}",
                pin("lodash")
            ),
        ),
        (
            "lodash@latest",
            format!(
                "package `lodash@latest` is not pinned to one version: {}",
                pin("lodash")
            ),
        ),
        (
            "lodash@4.17.x",
            format!(
                "package `lodash@4.17.x` is not pinned to one version: {}",
                pin("lodash")
            ),
        ),
        (
            "lodash@1.2.3.4-a",
            format!("package `lodash@1.2.3.4-a` has no valid version: {form}"),
        ),
        (
            "a@npm:b@1.0.0",
            format!("`a@npm:b@1.0.0` is not a package: {form}"),
        ),
        (
            "a@file:../b",
            format!("`a@file:../b` is not a package: {form}"),
        ),
        (
            "requests==2.32.3",
            format!("`requests==2.32.3` is not a package: {form}"),
        ),
        (
            "@scope@1.0.0",
            format!("`@scope@1.0.0` is not a package: {form}"),
        ),
        (
            "../x@1.0.0",
            format!("`../x@1.0.0` is not a package: {form}"),
        ),
        (
            "--global@1.0.0",
            format!("`--global@1.0.0` is not a package: {form}"),
        ),
        (
            ".hidden@1.0.0",
            format!("`.hidden@1.0.0` is not a package: {form}"),
        ),
    ] {
        assert_eq!(
            parse(Language::Javascript, &[word]),
            Err(message),
            "{word:?}"
        );
    }
}

#[test]
fn a_package_given_in_two_versions_is_named_with_both() {
    assert_eq!(
        parse(Language::Python, &["Requests==2.32.3", "requests==2.31"]),
        Err(
            "package `requests` is asked for in two versions, 2.32.3 and 2.31: give one".to_owned()
        )
    );
    assert_eq!(
        parse(Language::Javascript, &["a@1.0.0", "a@1.0.1"]),
        Err("package `a` is asked for in two versions, 1.0.0 and 1.0.1: give one".to_owned())
    );
}

#[test]
fn raw_has_no_packages() {
    assert_eq!(parse(Language::Raw, &[]).as_deref(), Ok(""));
    assert_eq!(
        parse(Language::Raw, &["curl==8"]),
        Err(
            "package `curl==8` cannot be installed: raw has no package manager, give no packages"
                .to_owned()
        )
    );
}
