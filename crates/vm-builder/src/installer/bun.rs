use cache_key::PackageSet;
use cache_layer::{BuildErrorKind, ResolvedPackage};

use super::{CACHE, Installer, listed};

pub(crate) struct Bun {
    pub(crate) program: String,
    pub(crate) folder: String,
}

/// `$1`: bun. `$2`: the folder. The rest: the packages.
const INSTALL: &str = include_str!("bun/install.sh");

impl Installer for Bun {
    fn install(&self, packages: &PackageSet) -> Vec<String> {
        let words = ["sh", "-c", INSTALL, "sh", &self.program, &self.folder];
        words
            .into_iter()
            .chain(packages.iter())
            .map(str::to_owned)
            .collect()
    }

    fn environment(&self, proxy: &str, ca_bundle: Option<&str>) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("HTTPS_PROXY", proxy.to_owned()),
            ("HTTP_PROXY", proxy.to_owned()),
            ("BUN_INSTALL_CACHE_DIR", CACHE.to_owned()),
            // Seconds without a byte, of one try. Left alone, a registry that never answers takes half an hour.
            ("BUN_CONFIG_HTTP_IDLE_TIMEOUT", "60".to_owned()),
            ("BUN_CONFIG_HTTP_RETRY_COUNT", "3".to_owned()),
            // Nothing is reported to anybody; the proxy would refuse it, and the guest wait.
            ("DO_NOT_TRACK", "1".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        if let Some(path) = ca_bundle {
            variables.push(("NODE_EXTRA_CA_CERTS", path.to_owned()));
        }
        variables
    }

    fn list(&self) -> Vec<String> {
        [&self.program, "pm", "ls", "--all", "--cwd", &self.folder]
            .map(str::to_owned)
            .into()
    }

    fn parse_list(&self, output: &str) -> Vec<ResolvedPackage> {
        // A tree, whose first line is the folder. A package may be in it more than once, below others.
        listed(output.lines().filter_map(|line| {
            let text = line.trim_start_matches(['│', '├', '└', '─', ' ']);
            (text.len() < line.len()).then(|| text.trim_end().rsplit_once('@'))?
        }))
    }

    fn classify(&self, output: &str) -> BuildErrorKind {
        let errors = || {
            output
                .lines()
                .filter_map(|line| line.strip_prefix("error: "))
        };
        if errors().any(is_final) {
            BuildErrorKind::Packages
        } else if errors().any(is_distrust) {
            BuildErrorKind::Host
        } else if errors().any(is_passing) {
            BuildErrorKind::Temporary
        } else {
            BuildErrorKind::Packages
        }
    }

    fn was_refused(&self, output: &str) -> bool {
        output
            .lines()
            .any(|line| line.starts_with("error: ProxyConnectFailed (403)"))
    }
}

/// What decides, whatever else went wrong: scripts print what they like before they fail.
fn is_final(error: &str) -> bool {
    let script_failed = error.contains(" script from ") && error.contains(" exited with ");
    script_failed || error.starts_with("No version matching") || error.ends_with(" - 404")
}

/// OpenSSL's names for a certificate that nobody known has signed.
fn is_distrust(error: &str) -> bool {
    let reason = error.split(' ').next().unwrap_or_default();
    reason.contains("CERT") || reason.starts_with("UNABLE_TO_")
}

fn is_passing(error: &str) -> bool {
    const REASONS: [&str; 7] = [
        "ConnectionClosed",
        "ConnectionRefused",
        "ConnectionReset",
        "DNSResolveFailed",
        "Timeout",
        // A file or a page that was damaged or replaced on its way.
        "IntegrityCheckFailed",
        "PackageFailedToParse",
    ];
    let reason = error.split(' ').next().unwrap_or_default();
    let status = match error.strip_prefix("ProxyConnectFailed (") {
        Some(rest) => rest.get(..3),
        None => error
            .starts_with("GET ")
            .then(|| error.rsplit(" - ").next())
            .flatten(),
    };
    REASONS.contains(&reason)
        || status.is_some_and(|status| status.starts_with('5') || ["408", "429"].contains(&status))
}

#[cfg(test)]
mod tests {
    use cache_key::Language;

    use super::*;

    fn bun() -> Bun {
        Bun {
            program: "/opt/installer/bin/bun".to_owned(),
            folder: "/opt/packages".to_owned(),
        }
    }

    #[test]
    fn packages_are_words_of_the_script_and_no_part_of_it() {
        let words = ["lodash@4.17.21", "@types/node@20.1.0"];
        let packages = PackageSet::parse(Language::Javascript, words).unwrap();
        let argv = bun().install(&packages);
        assert_eq!(argv[..3], ["sh", "-c", INSTALL]);
        assert_eq!(
            argv[3..],
            [
                "sh",
                "/opt/installer/bin/bun",
                "/opt/packages",
                "@types/node@20.1.0",
                "lodash@4.17.21"
            ]
        );
    }

    #[test]
    fn the_list_is_a_tree_of_packages_of_which_each_is_read_once() {
        let tree = "/opt/packages@1 node_modules\n├── @types/node@20.1.0\n├── ms@2.0.0\n├── send@0.18.0\n\
                    │   └── ms@2.1.3\n└── serve-static@1.15.0\n    └── ms@2.1.3\n";
        let list: Vec<_> = bun()
            .parse_list(tree)
            .into_iter()
            .map(|package| format!("{}@{}", package.name, package.version))
            .collect();
        assert_eq!(
            list,
            [
                "@types/node@20.1.0",
                "ms@2.0.0",
                "ms@2.1.3",
                "send@0.18.0",
                "serve-static@1.15.0"
            ]
        );
    }
}
