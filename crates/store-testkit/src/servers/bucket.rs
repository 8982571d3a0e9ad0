use std::time::Duration;

use rusty_s3::{Credentials, S3Action, UrlStyle};
use serde_json::json;
use ureq::http::{Request, StatusCode};
use url::Url;

use super::ServerError;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Amazon's S3, path style.
    S3,
    /// The JSON API of Google Cloud Storage.
    Gcs,
}

/// Whom an S3 server lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key.
    pub access: String,
    /// The secret key.
    pub secret: String,
}

impl Keys {
    /// One pair for all servers: those that others test with too, and what is set for
    /// one lets into each.
    pub(super) fn of_tests() -> Self {
        Self {
            access: "testing".to_owned(),
            secret: "testing".to_owned(),
        }
    }
}

/// A bucket on a server: all that a client has to know, and a plain HTTP client to look into it with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What the server speaks.
    pub protocol: Protocol,
    /// `http://HOST:PORT`, without a slash at its end.
    pub endpoint: String,
    /// The bucket's name.
    pub name: String,
    /// For S3: any server here has this one.
    pub region: &'static str,
    /// Who is let in; `None` where nobody is asked.
    pub keys: Option<Keys>,
}

/// A signed request is good for this long.
const VALID: Duration = Duration::from_secs(300);
/// No request of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

impl Bucket {
    pub(super) fn new(protocol: Protocol, endpoint: &str, name: &str, keys: Option<Keys>) -> Self {
        Self {
            protocol,
            endpoint: endpoint.to_owned(),
            name: name.to_owned(),
            region: "us-east-1",
            keys,
        }
    }

    /// The same bucket by way of another address, a proxy's for one.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            ..self.clone()
        }
    }

    /// What `--remote` takes for it.
    #[must_use]
    pub fn remote_uri(&self, prefix: &str) -> String {
        let (name, endpoint) = (&self.name, &self.endpoint);
        match self.protocol {
            Protocol::S3 => format!(
                "s3://{name}/{prefix}?region={}&endpoint={endpoint}",
                self.region
            ),
            Protocol::Gcs => format!("gcs://{name}/{prefix}?endpoint={endpoint}"),
        }
    }

    /// The environment variables by which a client is let in.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match &self.keys {
            Some(keys) => vec![
                ("AWS_ACCESS_KEY_ID", keys.access.clone()),
                ("AWS_SECRET_ACCESS_KEY", keys.secret.clone()),
            ],
            None => Vec::new(),
        }
    }

    /// Makes it; that it is there already will do.
    pub(super) fn make(&self) -> Result<(), ServerError> {
        let request = match self.protocol {
            Protocol::S3 => {
                let (bucket, credentials) = self.signer();
                let url = bucket.create_bucket(&credentials).sign(VALID);
                Request::put(url.as_str()).body(Vec::new())
            }
            Protocol::Gcs => Request::post(format!("{}/storage/v1/b?project=test", self.endpoint))
                .header("content-type", "application/json")
                .body(json!({ "name": self.name }).to_string().into_bytes()),
        };
        let what = format!("make the bucket {}", self.name);
        match self.send(&what, request)? {
            (StatusCode::OK | StatusCode::CONFLICT, _) => Ok(()),
            (status, body) => Err(refused(what, status, &body)),
        }
    }

    /// Stores an object, replacing what is there.
    ///
    /// # Errors
    ///
    /// The server refuses, or is gone.
    pub fn put(&self, object: &str, bytes: impl Into<Vec<u8>>) -> Result<(), ServerError> {
        let request = match self.protocol {
            Protocol::S3 => {
                let (bucket, credentials) = self.signer();
                let action = bucket.put_object(Some(&credentials), object);
                Request::put(action.sign(VALID).as_str()).body(bytes.into())
            }
            Protocol::Gcs => {
                let mut url = self.json_api(&["upload", "storage", "v1", "b", &self.name, "o"]);
                url.query_pairs_mut()
                    .append_pair("uploadType", "media")
                    .append_pair("name", object);
                Request::post(url.as_str())
                    .header("content-type", "application/octet-stream")
                    .body(bytes.into())
            }
        };
        let what = format!("put {object} into the bucket {}", self.name);
        match self.send(&what, request)? {
            (status, _) if status.is_success() => Ok(()),
            (status, body) => Err(refused(what, status, &body)),
        }
    }

    /// An object's bytes; `None` when there is no such object, or no such bucket.
    ///
    /// # Errors
    ///
    /// The server refuses, is gone, or sends less than it declares.
    pub fn get(&self, object: &str) -> Result<Option<Vec<u8>>, ServerError> {
        let request = match self.protocol {
            Protocol::S3 => Request::get(self.signed_get(object)),
            Protocol::Gcs => {
                let mut url = self.json_api(&["storage", "v1", "b", &self.name, "o", object]);
                url.set_query(Some("alt=media"));
                Request::get(url.as_str())
            }
        };
        let what = format!("get {object} from the bucket {}", self.name);
        match self.send(&what, request.body(Vec::new()))? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) if status.is_success() => Ok(Some(body)),
            (status, body) => Err(refused(what, status, &body)),
        }
    }

    /// The URL of an S3 object with a signature in it, which holds for its host and port.
    pub(crate) fn signed_get(&self, object: &str) -> String {
        let (bucket, credentials) = self.signer();
        let action = bucket.get_object(Some(&credentials), object);
        action.sign(VALID).into()
    }

    #[expect(clippy::expect_used, reason = "the address is one that we made")]
    fn signer(&self) -> (rusty_s3::Bucket, Credentials) {
        let endpoint = Url::parse(&self.endpoint).expect("an endpoint is a URL");
        let bucket = rusty_s3::Bucket::new(
            endpoint,
            UrlStyle::Path,
            self.name.clone(),
            self.region.to_owned(),
        )
        .expect("an endpoint has a host");
        // A server that asks nobody who he is does not mind to be told.
        let Keys { access, secret } = self.keys.clone().unwrap_or_else(Keys::of_tests);
        (bucket, Credentials::new(access, secret))
    }

    #[expect(clippy::expect_used, reason = "the address is one that we made")]
    fn json_api(&self, path: &[&str]) -> Url {
        let mut url = Url::parse(&self.endpoint).expect("an endpoint is a URL");
        url.path_segments_mut()
            .expect("an endpoint has a path")
            .extend(path);
        url
    }

    fn send(
        &self,
        what: &str,
        request: Result<Request<Vec<u8>>, ureq::http::Error>,
    ) -> Result<(StatusCode, Vec<u8>), ServerError> {
        let failed = |why: String| ServerError::Request {
            what: what.to_owned(),
            why: format!("{}: {why}", self.endpoint),
        };
        let request = request.map_err(|error| failed(error.to_string()))?;
        let mut answer = agent()
            .run(request)
            .map_err(|error| failed(error.to_string()))?;
        let body = answer.body_mut().with_config().limit(u64::MAX);
        let body = body.read_to_vec();
        Ok((
            answer.status(),
            body.map_err(|error| failed(error.to_string()))?,
        ))
    }
}

fn refused(what: String, status: StatusCode, body: &[u8]) -> ServerError {
    ServerError::Request {
        what,
        why: format!("{status}: {}", String::from_utf8_lossy(body).trim()),
    }
}

/// A client that takes every status for an answer, and asks no proxy the way to 127.0.0.1.
pub(super) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}
