use std::fmt;
use std::str::FromStr;

use cache_key::Language;
use thiserror::Error;
use url::Url;

/// A package index that installers are to use in place of their own: a mirror, a private registry.
///
/// Its host is named by whoever runs this, so it may be an address, or inside. It speaks HTTPS: the guest's
/// way out is a tunnel that nobody looks into, and there is no other.
#[derive(Clone, PartialEq, Eq)]
pub struct PackageIndex(Url);

/// A URL that is no package index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a package index that can be used: write https://[USER:PASSWORD@]HOST[:PORT]/PATH"
)]
pub struct PackageIndexError(String);

impl PackageIndex {
    /// The host's name in lower case, or its address, an IPv6 one in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        // Checked when it was parsed.
        self.0.host_str().unwrap_or_default()
    }

    /// The port, 443 where none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(443)
    }

    /// The environment by which the installers of `language` are told of it.
    pub(crate) fn environment(&self, language: Language) -> Vec<(&'static str, String)> {
        let names: &[&str] = match language {
            Language::Python => &["UV_DEFAULT_INDEX", "PIP_INDEX_URL"],
            Language::Javascript => &["npm_config_registry"],
            _ => &[],
        };
        let url = |name: &&'static str| (*name, self.0.to_string());
        names.iter().map(url).collect()
    }
}

impl FromStr for PackageIndex {
    type Err = PackageIndexError;

    fn from_str(text: &str) -> Result<Self, PackageIndexError> {
        match Url::parse(text) {
            Ok(url) if url.scheme() == "https" && url.port() != Some(0) => Ok(Self(url)),
            _ => Err(PackageIndexError(without_password(text))),
        }
    }
}

/// Without what is secret in it.
impl fmt::Display for PackageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(self.0.as_str()))
    }
}

impl fmt::Debug for PackageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackageIndex({self})")
    }
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_an_https_url_and_its_host_may_be_an_address() {
        for (url, host, port) in [
            ("https://Mirror.example/simple/", "mirror.example", 443),
            ("https://u:p@10.0.0.7:8443/simple", "10.0.0.7", 8443),
            ("https://[::1]:8443", "[::1]", 8443),
        ] {
            let index: PackageIndex = url.parse().unwrap();
            assert_eq!((index.host(), index.port()), (host, port));
        }
        for bad in [
            "",
            "mirror.example",
            "http://mirror.example/",
            "https://",
            "https://a:0/",
        ] {
            assert!(bad.parse::<PackageIndex>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_installer_is_told_in_its_own_words_and_nobody_else_the_password() {
        let index: PackageIndex = "https://u:secret@mirror.example/simple/".parse().unwrap();
        let told = index.environment(Language::Javascript);
        let url = "https://u:secret@mirror.example/simple/";
        assert_eq!(told, [("npm_config_registry", url.to_owned())]);
        assert_eq!(index.environment(Language::Python)[0].0, "UV_DEFAULT_INDEX");
        assert_eq!(index.environment(Language::Raw), []);
        assert_eq!(
            format!("{index:?}"),
            "PackageIndex(https://…@mirror.example/simple/)"
        );
        let bad = "http://u:secret@mirror.example".parse::<PackageIndex>();
        assert!(!bad.unwrap_err().to_string().contains("secret"));
    }
}
