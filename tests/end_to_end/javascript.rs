//! The second language: the same job, another installer.

use serde_json::Value;

use crate::host::{Host, Said, javascript_image};

impl Host {
    fn javascript(&self, args: &[&str]) -> Said {
        Said::of(self.snaptier_with_images(javascript_image(), args))
    }

    /// The packages of a snapshot that is built, as `NAME@VERSION`.
    fn resolved(&self, request: &[&str]) -> Vec<String> {
        javascript_image();
        let built = self.json(&[&["get"], request].concat());
        assert_eq!(built["source"], "built");
        let packages = built["provenance"]["resolved"].as_array().unwrap();
        let text = |package: &Value, field: &str| package[field].as_str().unwrap().to_owned();
        packages
            .iter()
            .map(|package| format!("{}@{}", text(package, "name"), text(package, "version")))
            .collect()
    }
}

#[test]
fn a_javascript_package_is_found_from_any_directory_by_require_and_by_import() {
    let host = Host::new();
    let version = r#"console.log(require("lodash").VERSION)"#;
    let run = ["run", "javascript", "lodash@4.17.21", "--"];
    let said = host.javascript(&[&run[..], &["node", "-e", version]].concat());
    assert_eq!(said.answer(), "4.17.21");
    assert!(said.stderr.contains("install took"), "{said:?}");

    let script = r#"
        cd /tmp
        echo 'import lodash from "lodash"; console.log(lodash.VERSION)' > one.mjs
        echo 'console.log(require("lodash").VERSION, process.argv[2])' > two.js
        bun one.mjs && node one.mjs && node two.js word
    "#;
    let said = host.javascript(&[&run[..], &["sh", "-c", script]].concat());
    assert_eq!(said.answer(), "4.17.21\n4.17.21\n4.17.21 word");
    assert!(
        !said.stderr.contains("install took"),
        "it was built twice: {said:?}"
    );
}

#[test]
fn scoped_packages_scripts_of_packages_and_their_programs_are_all_there() {
    let host = Host::new();
    // The script after its installation swaps the program for the one of this platform.
    let request = ["javascript", "esbuild@0.21.5", "@types/node@20.1.0"];
    let packages = host.resolved(&request);
    for package in ["@types/node@20.1.0", "esbuild@0.21.5"] {
        assert!(
            packages.iter().any(|found| found == package),
            "{packages:?}"
        );
    }
    let script = "esbuild --version && ls /node_modules/@types/node/package.json";
    let said = host.javascript(&[&["run"], &request[..], &["--", "sh", "-c", script]].concat());
    assert_eq!(
        said.answer(),
        "0.21.5\n/node_modules/@types/node/package.json"
    );
}

#[test]
fn what_cannot_be_installed_is_told_in_the_installers_words_and_leaves_nothing() {
    let host = Host::new();
    for (package, words) in [
        (
            "this-package-does-not-exist-snaptier@1.0.0",
            "/this-package-does-not-exist-snaptier - 404",
        ),
        ("lodash@99.99.99", r#"No version matching "99.99.99""#),
        // For another system only: the installer steps over it and is content.
        ("fsevents@2.3.3", "is not made for this platform"),
    ] {
        let said = host.javascript(&["get", "javascript", package]);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert_eq!(said.stdout, "");
        assert!(said.stderr.contains(words), "{said:?}");
        assert!(
            said.stderr
                .ends_with(&format!("error: install {package}\n")),
            "{said:?}"
        );
        assert_eq!(said.stderr.matches("boot took").count(), 1, "{said:?}");
    }
    assert_eq!((host.entries(), host.staged()), (vec![], vec![]));
}

#[test]
fn the_same_request_is_resolved_alike_on_two_hosts_in_both_languages() {
    for (request, dependency) in [
        (["python", "requests==2.32.3"], "idna@"),
        (["javascript", "debug@4.3.4"], "ms@2.1.2"),
    ] {
        let [here, there] = [Host::new(), Host::new()].map(|host| host.resolved(&request));
        assert_eq!(here, there);
        assert!(
            here.iter().any(|package| package.starts_with(dependency)),
            "{here:?}"
        );
    }
}
