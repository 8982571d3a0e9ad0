use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot, Staging};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

use crate::answer::{no_answer, require_success};
use crate::object;

/// Snapshots on an HTTP server: one object for each at `{url}/{key}`, by GET, PUT and DELETE.
///
/// The server is to put an object in place at once and whole, as object stores do.
#[derive(Debug, Clone)]
pub struct HttpLayer {
    client: Client,
    url: String,
}

const CONNECTING: Duration = Duration::from_secs(10);
/// A transfer may last; a server that sends nothing for so long will not.
const SILENCE: Duration = Duration::from_secs(30);

impl HttpLayer {
    /// The layer below `url`, `http://HOST/PATH` or `https://HOST/PATH`. Nothing is asked of the server yet.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](LayerErrorKind::Unavailable): this host's certificates cannot be read.
    pub fn new(url: &str) -> Result<Self, LayerError> {
        let client = Client::builder()
            .connect_timeout(CONNECTING)
            .read_timeout(SILENCE)
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self {
            client: client.map_err(|error| no_answer(format!("use {url}"), error))?,
            url,
        })
    }

    fn request(&self, method: Method, key: &CacheKey) -> RequestBuilder {
        self.client.request(method, format!("{}/{key}", self.url))
    }

    /// `Corrupt` says that the entry is gone: so that it is, as far as we may.
    async fn remove_corrupt(&self, key: &CacheKey) {
        if let Err(error) = self.remove(key).await {
            tracing::warn!(%key, layer = %self, %error, "a damaged object stays on the server");
        }
    }
}

#[async_trait]
impl CacheLayer for HttpLayer {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        let key = spec.key();
        let context = format!("download {key} from {self}");
        let answer = send(&context, self.request(Method::GET, &key)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(Lookup::Miss);
        }
        let answer = require_success(&context, answer)?;
        let received = object::receive(answer, spec, staging, &context).await;
        if received
            .as_ref()
            .is_err_and(|error| error.kind() == LayerErrorKind::Corrupt)
        {
            self.remove_corrupt(&key).await;
        }
        received
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let key = snapshot.key();
        let context = format!("upload {key} to {self}");
        let request = self.request(Method::PUT, key);
        let request = object::attach(request, snapshot, &context).await?;
        require_success(&context, send(&context, request).await?)?;
        Ok(snapshot.clone())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let context = format!("remove {key} from {self}");
        let answer = send(&context, self.request(Method::DELETE, key)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        require_success(&context, answer).map(drop)
    }
}

async fn send(context: &str, request: RequestBuilder) -> Result<Response, LayerError> {
    let sent = request.send().await;
    sent.map_err(|error| no_answer(context, error))
}

impl fmt::Display for HttpLayer {
    /// The address without a user and a password that may stand in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("http", &self.url));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        write!(f, "http({scheme}://{host}/{path})")
    }
}
