use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

use crate::store::{Store, Style};
use crate::{S3Keys, StoreKind};

/// Where a remote tier keeps its objects, as a URI:
///
/// | URI | what |
/// | --- | --- |
/// | `s3://BUCKET/PREFIX` | S3 and whatever speaks it |
/// | `gcs://BUCKET/PREFIX` | Google Cloud Storage |
/// | `file:///DIR` | a directory, local or shared |
/// | `memory://` | this process's memory |
///
/// The prefix may be left out, and so may the parameters, which follow a `?` and are joined by `&`:
///
/// | parameter | of | what | if left out |
/// | --- | --- | --- | --- |
/// | `region` | S3 | the bucket's region | `AWS_REGION`, `AWS_DEFAULT_REGION`; with an endpoint, `us-east-1` |
/// | `endpoint` | S3 | the server's URL | `AWS_ENDPOINT_URL`, else Amazon's |
/// | `endpoint` | GCS | an emulator's URL, which is asked without credentials | Google's |
/// | `style` | S3 | `path`: the bucket's name is in the path; `virtual-host`: in the host's name | `path` |
/// | `accept_unmanifested` | all | `true`: a zstd file without our manifest is taken for what its name says | `false` |
///
/// Credentials come from the environment, the usual files and the machine's role, never from the URI. The
/// environment also says which proxy leads to the store (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`)
/// and which certificates prove that it is the right one (`SSL_CERT_FILE`, `SSL_CERT_DIR`, in place of the
/// system's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteLocation {
    uri: String,
    store: Store,
    accept_unmanifested: bool,
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
        let (mut style, mut accept_unmanifested) = (Style::default(), false);
        for (name, value) in url.query_pairs() {
            match (url.scheme(), name.as_ref(), value.as_ref()) {
                ("s3", "region", _) => region = Some(value.into_owned()),
                ("s3" | "gcs", "endpoint", _) => endpoint = Some(value.into_owned()),
                ("s3", "style", "path") => style = Style::Path,
                ("s3", "style", "virtual-host") => style = Style::VirtualHost,
                ("s3", "style", other) => {
                    return Err(error(format!(
                        "its style is `path` or `virtual-host`, not `{other}`"
                    )));
                }
                (_, "accept_unmanifested", "true") => accept_unmanifested = true,
                (_, "accept_unmanifested", "false") => accept_unmanifested = false,
                (_, "accept_unmanifested", other) => {
                    return Err(error(format!(
                        "accept_unmanifested is `true` or `false`, not `{other}`"
                    )));
                }
                (_, name, _) => return Err(error(format!("`{name}` is no parameter of it"))),
            }
        }
        let store = match url.scheme() {
            "s3" => Store::S3 {
                bucket: bucket()?,
                prefix,
                region,
                endpoint,
                style,
                keys: None,
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
            accept_unmanifested,
        })
    }
}

impl RemoteLocation {
    /// What kind of store it is.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    /// The directory that it names, if it names one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.store {
            Store::File { dir } => Some(Path::new(dir)),
            _ => None,
        }
    }

    /// The bucket's name; `None` for what has no buckets.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        self.store.bucket()
    }

    /// What stands before `snapshots/` in the names of objects, without slashes at its ends; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.store.prefix()
    }

    /// Whether objects without a manifest are taken too: `accept_unmanifested=true`.
    #[must_use]
    pub fn accepts_unmanifested(&self) -> bool {
        self.accept_unmanifested
    }

    /// The same store, asked with these credentials and no others. Means nothing to a store that is not S3.
    #[must_use]
    pub fn with_s3_keys(mut self, handed_in: S3Keys) -> Self {
        if let Store::S3 { keys, .. } = &mut self.store {
            *keys = Some(handed_in);
        }
        self
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
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
            store(
                "s3://b/team/a?region=eu-1&endpoint=http%3A%2F%2F127.0.0.1:9000&style=virtual-host"
            ),
            Store::S3 {
                bucket: "b".into(),
                prefix: "team/a".into(),
                region: Some("eu-1".into()),
                endpoint: Some("http://127.0.0.1:9000".into()),
                style: Style::VirtualHost,
                keys: None,
            }
        );
        assert_eq!(
            store("s3://b"),
            Store::S3 {
                bucket: "b".into(),
                prefix: String::new(),
                region: None,
                endpoint: None,
                style: Style::Path,
                keys: None,
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
    fn objects_without_a_manifest_are_taken_only_where_the_uri_says_so() {
        let accepts = |uri: &str| {
            let location: RemoteLocation = uri.parse().unwrap();
            location.accepts_unmanifested()
        };
        assert!(accepts("file:///srv?accept_unmanifested=true"));
        assert!(!accepts("file:///srv?accept_unmanifested=false"));
        assert!(!accepts("s3://b"));
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
            (
                "s3://b?style=vhost",
                "its style is `path` or `virtual-host`, not `vhost`",
            ),
            (
                "memory://?accept_unmanifested=yes",
                "accept_unmanifested is `true` or `false`, not `yes`",
            ),
        ] {
            let error = uri.parse::<RemoteLocation>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!(
                    "`{uri}` is not a remote cache: {why}; write s3://"
                )),
                "{error}"
            );
        }
        let keys = S3Keys {
            access: "AKIA".to_owned(),
            secret: "secret".to_owned(),
            session_token: None,
        };
        let location = "s3://b".parse::<RemoteLocation>().unwrap();
        let told = format!("{:?}", location.with_s3_keys(keys));
        assert!(!told.contains("secret") && !told.contains("AKIA"), "{told}");
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
