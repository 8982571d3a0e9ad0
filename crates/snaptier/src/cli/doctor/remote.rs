//! The remote store: whether it answers, takes this host's credentials, and keeps to conditions.

use std::time::Duration;

use cache_layer::LayerError;
use l3_remote::{Examined, Patience, RemoteLayer, RemoteLocation};
use snaptier::Settings;

use super::finding::Finding;
use super::place;
use crate::cli::failure::chain;

const CHECK: &str = "remote";
/// A store that has not answered by then is of no use to a `get` either.
const LONGEST: Duration = Duration::from_secs(10);

pub(crate) async fn remote(settings: &Settings) -> Finding {
    let Some(location) = settings.remote.clone() else {
        return Finding::ok(CHECK, "none: snapshots are on this host alone");
    };
    if let Some(dir) = location.directory() {
        return place::remote_dir(dir).await;
    }
    let name = location.to_string();
    match tokio::time::timeout(LONGEST, examine(location)).await {
        Ok(examined) => judge(&name, examined),
        Err(_) => silent(format!(
            "use {name}: no answer within {} s",
            LONGEST.as_secs()
        )),
    }
}

async fn examine(location: RemoteLocation) -> Result<Examined, LayerError> {
    // Once and soon: whoever asks waits for the answer.
    let mut patience = Patience::default();
    patience.call = Duration::from_secs(5);
    patience.idle = Duration::from_secs(5);
    patience.part = Duration::from_secs(5);
    patience.retries = 0;
    RemoteLayer::with_patience(location, &patience)?
        .examine()
        .await
}

fn judge(name: &str, examined: Result<Examined, LayerError>) -> Finding {
    match examined.map(|examined| examined.create) {
        Ok(Ok(true)) => {
            let found =
                format!("{name} answers, takes the credentials, and keeps to conditional writes");
            Finding::ok(CHECK, found)
        }
        Ok(Ok(false)) => Finding::warning(
            CHECK,
            format!("{name} overwrites what it was asked to leave as it is"),
            "two hosts that upload one snapshot at the same time both write it: no harm, but to the bill",
        ),
        Ok(Err(error)) => Finding::warning(
            CHECK,
            format!("{name} can only be read: {}", chain(&error)),
            "let this host's credentials write and remove objects, if it is to share what it builds",
        ),
        Err(error) => silent(chain(&error)),
    }
}

/// A `get` steps over a store that fails.
fn silent(why: String) -> Finding {
    let remedy = "see to its URI, the credentials in the environment and the way there; until then nothing is shared";
    Finding::warning(CHECK, why, remedy)
}

#[cfg(test)]
mod tests {
    use cache_layer::LayerErrorKind;

    use super::super::finding::{Status, assert_judged};
    use super::*;

    #[test]
    fn a_store_that_fails_is_never_what_makes_a_get_fail() {
        let error = || {
            LayerError::new(
                LayerErrorKind::Denied,
                "use s3://b: the store takes no credentials",
            )
        };
        let finding = judge("s3://b", Err(error()));
        assert_judged(&finding, Status::Warning, "the store takes no credentials");
    }
}
