use cache_key::PackageSet;
use cache_layer::{BuildErrorKind, ResolvedPackage};

use super::{CACHE, Installer, listed};

pub(crate) struct Uv {
    pub(crate) program: String,
    pub(crate) python: String,
}

impl Uv {
    fn pip(&self, verb: &str, rest: impl IntoIterator<Item = String>) -> Vec<String> {
        let words = [&self.program, "pip", verb, "--python", &self.python].map(str::to_owned);
        words.into_iter().chain(rest).collect()
    }
}

impl Installer for Uv {
    fn install(&self, packages: &PackageSet) -> Vec<String> {
        let options = ["--link-mode", "hardlink", "--"].map(str::to_owned);
        self.pip(
            "install",
            options
                .into_iter()
                .chain(packages.iter().map(str::to_owned)),
        )
    }

    fn environment(&self, proxy: &str, ca_bundle: Option<&str>) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("HTTPS_PROXY", proxy.to_owned()),
            ("HTTP_PROXY", proxy.to_owned()),
            ("UV_CACHE_DIR", CACHE.to_owned()),
            ("UV_NO_CONFIG", "1".to_owned()),
            ("UV_NO_PROGRESS", "1".to_owned()),
            // The image has one interpreter; uv would look for another on the network.
            ("UV_PYTHON_DOWNLOADS", "never".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        if let Some(path) = ca_bundle {
            variables.push(("SSL_CERT_FILE", path.to_owned()));
        }
        variables
    }

    fn list(&self) -> Vec<String> {
        self.pip("freeze", [])
    }

    fn parse_list(&self, output: &str) -> Vec<ResolvedPackage> {
        listed(
            output
                .lines()
                .filter_map(|line| line.trim().split_once("==")),
        )
    }

    fn classify(&self, output: &str) -> BuildErrorKind {
        let mut chain = chain(output);
        if chain.clone().any(|line| line.contains(DISTRUST)) {
            BuildErrorKind::Host
        } else if chain.any(|line| PASSING.iter().any(|sign| line.contains(sign))) {
            BuildErrorKind::Temporary
        } else {
            BuildErrorKind::Packages
        }
    }

    fn was_refused(&self, output: &str) -> bool {
        // uv does not tell this answer from others that open no tunnel.
        chain(output).any(|line| line.contains("tunnel error: unsuccessful"))
    }
}

/// The error and its causes. What a build printed is further to the right.
fn chain(output: &str) -> impl Iterator<Item = &str> + Clone {
    let is_of_it = |line: &&str| CHAIN.iter().any(|start| line.starts_with(start));
    output.lines().filter(is_of_it)
}

/// How an error and its causes begin, in today's uv and in those of images that are older.
const CHAIN: [&str; 6] = [
    "error: ",
    "  cause: ",
    "  Caused by: ",
    "  × ",
    "  ├─▶ ",
    "  ╰─▶ ",
];

const DISTRUST: &str = "invalid peer certificate";

/// Signs of what may be otherwise the next time. A proxy that refuses is one of them: its answer is not told, and it
/// gives the same words for a host that is down.
const PASSING: [&str; 12] = [
    "HTTP status server error",
    "(408 Request Timeout)",
    "(429 Too Many Requests)",
    "error sending request",
    "error decoding response body",
    "request or response body error",
    "connection closed",
    "Connection reset",
    "operation timed out",
    "network timeout",
    "dns error",
    "tunnel error",
];

#[cfg(test)]
mod tests {
    use cache_key::Language;

    use super::*;

    fn uv() -> Uv {
        Uv {
            program: "/opt/installer/bin/uv".to_owned(),
            python: "/opt/venv/bin/python3".to_owned(),
        }
    }

    #[test]
    fn packages_are_words_after_the_options() {
        let packages =
            PackageSet::parse(Language::Python, ["requests==2.32.3", "idna==3.7"]).unwrap();
        assert_eq!(
            uv().install(&packages).join(" "),
            "/opt/installer/bin/uv pip install --python /opt/venv/bin/python3 --link-mode hardlink -- idna==3.7 requests==2.32.3"
        );
    }

    #[test]
    fn the_list_is_read_line_by_line() {
        let list = uv().parse_list("Using Python 3.11\ncertifi==2024.7.4\nidna==3.7\n");
        let list: Vec<_> = list
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_str()))
            .collect();
        assert_eq!(list, [("certifi", "2024.7.4"), ("idna", "3.7")]);
    }
}
