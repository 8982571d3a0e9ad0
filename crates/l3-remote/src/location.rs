use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::{Fs, Gcs, Memory, S3};
use opendal::{Builder, Operator};
use thiserror::Error;
use url::Url;

/// Where a remote tier keeps its objects, as a URI:
///
/// | URI | what |
/// | --- | --- |
/// | `s3://BUCKET/PREFIX?region=REGION&endpoint=URL` | S3 and whatever speaks it |
/// | `gcs://BUCKET/PREFIX?endpoint=URL` | Google Cloud Storage |
/// | `file:///DIR` | a directory, local or shared |
/// | `memory://` | this process's memory |
///
/// Prefix and parameters may be left out. Credentials come from the environment, the usual files and the
/// machine's role, never from the URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteLocation {
    uri: String,
    store: Store,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Store {
    S3 {
        bucket: String,
        prefix: String,
        region: Option<String>,
        endpoint: Option<String>,
    },
    Gcs {
        bucket: String,
        prefix: String,
        endpoint: Option<String>,
    },
    File {
        dir: String,
    },
    Memory,
}

/// A URI that names no remote store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a remote cache: {why}; write s3://BUCKET/PREFIX?region=…&endpoint=…, gcs://BUCKET/PREFIX?endpoint=… or file:///DIR", .uri.escape_debug())]
pub struct LocationError {
    uri: String,
    why: String,
}

impl FromStr for RemoteLocation {
    type Err = LocationError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let error = |why: String| LocationError {
            uri: uri.to_owned(),
            why,
        };
        let url = Url::parse(uri).map_err(|cause| error(cause.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LocationError {
                uri: format!("{}://…", url.scheme()),
                why: "credentials have no place in it".to_owned(),
            });
        }
        let bucket = || match url.host_str() {
            Some(bucket) if !bucket.is_empty() => Ok(bucket.to_owned()),
            _ => Err(error("it names no bucket".to_owned())),
        };
        let prefix = url.path().trim_matches('/').to_owned();
        let (mut region, mut endpoint) = (None, None);
        for (name, value) in url.query_pairs() {
            match (url.scheme(), name.as_ref()) {
                ("s3", "region") => region = Some(value.into_owned()),
                ("s3" | "gcs", "endpoint") => endpoint = Some(value.into_owned()),
                (_, name) => return Err(error(format!("`{name}` is no parameter of it"))),
            }
        }
        let store = match url.scheme() {
            "s3" => Store::S3 {
                bucket: bucket()?,
                prefix,
                region,
                endpoint,
            },
            "gcs" => Store::Gcs {
                bucket: bucket()?,
                prefix,
                endpoint,
            },
            "file" => match url.to_file_path() {
                Ok(dir) => Store::File {
                    dir: dir.to_string_lossy().into_owned(),
                },
                Err(()) => {
                    return Err(error(
                        "it names no absolute directory of this host".to_owned(),
                    ));
                }
            },
            "memory" => Store::Memory,
            scheme => return Err(error(format!("`{scheme}` is no store that is known"))),
        };
        Ok(Self {
            uri: uri.to_owned(),
            store,
        })
    }
}

/// A call that moves no data, and a step of one that does, may take this long.
const CALL_TIME_OUT: Duration = Duration::from_secs(60);
const STEP_TIME_OUT: Duration = Duration::from_secs(20);

impl RemoteLocation {
    /// The store, with time-outs below and retries above: each try has its own time.
    pub(crate) fn operator(&self) -> opendal::Result<Operator> {
        opendal::install_default();
        let operator = match &self.store {
            Store::S3 {
                bucket,
                prefix,
                region,
                endpoint,
            } => Self::finish(s3(bucket, prefix, region.as_deref(), endpoint.as_deref())),
            Store::Gcs {
                bucket,
                prefix,
                endpoint,
            } => Self::finish(gcs(bucket, prefix, endpoint.as_deref())),
            // Written aside and renamed, on the same file system.
            Store::File { dir } => Self::finish(
                Fs::default()
                    .root(dir)
                    .atomic_write_dir(&format!("{dir}/.staging")),
            ),
            Store::Memory => Self::finish(Memory::default()),
        }?;
        Ok(operator
            .layer(
                TimeoutLayer::new()
                    .with_timeout(CALL_TIME_OUT)
                    .with_io_timeout(STEP_TIME_OUT),
            )
            .layer(RetryLayer::new().with_jitter()))
    }

    fn finish(builder: impl Builder) -> opendal::Result<Operator> {
        Operator::new(builder)
    }
}

fn s3(bucket: &str, prefix: &str, region: Option<&str>, endpoint: Option<&str>) -> S3 {
    let mut s3 = S3::default().bucket(bucket).root(prefix);
    if let Some(endpoint) = endpoint {
        s3 = s3.endpoint(endpoint);
    }
    let from_environment = || {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    };
    match region.map(str::to_owned).or_else(from_environment) {
        Some(region) => s3.region(&region),
        // A server of one's own has one region, and signs with any name for it.
        None if endpoint.is_some() => s3.region("us-east-1"),
        None => s3,
    }
}

fn gcs(bucket: &str, prefix: &str, endpoint: Option<&str>) -> Gcs {
    let gcs = Gcs::default().bucket(bucket).root(prefix);
    match endpoint {
        // An emulator asks for no credentials, and there are none to be found for it.
        Some(endpoint) => gcs
            .endpoint(endpoint)
            .skip_signature()
            .disable_vm_metadata()
            .disable_config_load(),
        None => gcs,
    }
}

impl fmt::Display for RemoteLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_store_is_read_from_its_uri() {
        let store = |uri: &str| uri.parse::<RemoteLocation>().unwrap().store;
        assert_eq!(
            store("s3://b/team/a?region=eu-1&endpoint=http%3A%2F%2F127.0.0.1:9000"),
            Store::S3 {
                bucket: "b".into(),
                prefix: "team/a".into(),
                region: Some("eu-1".into()),
                endpoint: Some("http://127.0.0.1:9000".into())
            }
        );
        assert_eq!(
            store("s3://b"),
            Store::S3 {
                bucket: "b".into(),
                prefix: String::new(),
                region: None,
                endpoint: None
            }
        );
        assert_eq!(
            store("gcs://b/p/"),
            Store::Gcs {
                bucket: "b".into(),
                prefix: "p".into(),
                endpoint: None
            }
        );
        assert_eq!(
            store("file:///srv/a%20b"),
            Store::File {
                dir: "/srv/a b".into()
            }
        );
    }

    #[test]
    fn what_is_no_store_is_named_with_the_right_form() {
        for (uri, why) in [
            ("/srv/cache", "relative URL without a base"),
            ("ftp://b/p", "`ftp` is no store that is known"),
            ("s3:///p", "it names no bucket"),
            ("s3://b?regoin=x", "`regoin` is no parameter of it"),
            (
                "file://host/dir",
                "it names no absolute directory of this host",
            ),
            ("file:///dir?endpoint=x", "`endpoint` is no parameter of it"),
        ] {
            let error = uri.parse::<RemoteLocation>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!(
                    "`{uri}` is not a remote cache: {why}; write s3://"
                )),
                "{error}"
            );
        }
        let secret = "s3://AKIA:secret@b"
            .parse::<RemoteLocation>()
            .unwrap_err()
            .to_string();
        assert!(
            !secret.contains("secret") && !secret.contains("AKIA"),
            "{secret}"
        );
    }
}
