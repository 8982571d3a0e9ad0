use std::env;
use std::path::Path;

use super::{Running, ServerError, StoreServer};

/// The environment variable that, being `1`, lets tests pass without the servers that cannot be had.
pub const OPTIONAL: &str = "SNAPTIER_SERVERS_OPTIONAL";

/// The server, started in `dir` for a test.
///
/// A server that cannot be had fails the test, unless [`OPTIONAL`] is `1`: then `SKIPPED: server: why` goes to
/// standard error, and the answer is `None`.
///
/// # Panics
///
/// The server cannot be had, and is not optional.
#[must_use]
pub fn for_test(server: &'static dyn StoreServer, dir: &Path) -> Option<Running> {
    let optional = env::var_os(OPTIONAL).is_some_and(|value| value == "1");
    required_unless(optional, server, Running::start(server, dir))
}

#[expect(
    clippy::print_stderr,
    reason = "a test that was skipped has to say so, whoever listens"
)]
fn required_unless<T>(
    optional: bool,
    server: &dyn StoreServer,
    started: Result<T, ServerError>,
) -> Option<T> {
    let name = server.name();
    match started {
        Ok(running) => Some(running),
        Err(error) if optional => {
            eprintln!("SKIPPED: {name}: {}", with_source(&error));
            None
        }
        Err(error) => panic!(
            "{name} cannot be had: {}; set {OPTIONAL}=1 to skip what needs it",
            with_source(&error)
        ),
    }
}

fn with_source(error: &ServerError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::S3sFs;

    fn missing() -> Result<(), ServerError> {
        Err(ServerError::Start {
            server: "s3s-fs",
            why: "it ended".to_owned(),
            log: "/log".into(),
        })
    }

    #[test]
    fn an_optional_server_that_cannot_be_had_is_none() {
        assert_eq!(required_unless(true, &S3sFs, missing()), None);
        assert_eq!(required_unless(true, &S3sFs, Ok(1)), Some(1));
    }

    #[test]
    #[should_panic(expected = "set SNAPTIER_SERVERS_OPTIONAL=1 to skip what needs it")]
    fn a_required_server_that_cannot_be_had_fails_the_test() {
        required_unless(false, &S3sFs, missing());
    }
}
