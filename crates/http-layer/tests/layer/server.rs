//! A small HTTP server: files in a directory, by GET, PUT and DELETE.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use cache_layer::CacheLayer;
use cache_layer_testkit::conformance::Place;
use http_body_util::{BodyExt, Full};
use http_layer::HttpLayer;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// It is stopped, and its thread is over, when this is dropped.
pub(crate) struct Server {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::answering(None)
    }

    /// One that answers every request with this, if it is given.
    pub(crate) fn answering(always: Option<StatusCode>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/cache", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let files = Arc::new(Files {
            dir: dir.path().to_owned(),
            uploads: AtomicUsize::new(0),
            always,
        });
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(TcpListener::from_std(listener).unwrap(), files) => {}
                }
            });
        });
        Self {
            url,
            stop: Some(stop),
            thread: Some(thread),
            dir,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn layer(&self) -> HttpLayer {
        HttpLayer::new(&self.url).unwrap()
    }
}

#[async_trait]
impl Place for Server {
    async fn open(&self) -> Arc<dyn CacheLayer> {
        Arc::new(self.layer())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Files {
    dir: PathBuf,
    uploads: AtomicUsize,
    always: Option<StatusCode>,
}

async fn serve(listener: TcpListener, files: Arc<Files>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let files = files.clone();
        let answer = service_fn(move |request| {
            let files = files.clone();
            async move { Ok::<_, Infallible>(files.answer(request).await) }
        });
        // A client that goes away in the midst of it is no fault of ours.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), answer));
    }
}

impl Files {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(status) = self.always {
            return response(status, Vec::new());
        }
        let name = request.uri().path().trim_start_matches("/cache/");
        let path = self.dir.join(name);
        let done = match *request.method() {
            Method::GET => fs::read(path),
            Method::PUT => self.store(&path, request.into_body()).await,
            Method::DELETE => fs::remove_file(path).map(|()| Vec::new()),
            _ => return response(StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
        };
        match done {
            Ok(body) => response(StatusCode::OK, body),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                response(StatusCode::NOT_FOUND, Vec::new())
            }
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
        }
    }

    /// Whole and at once, or not at all.
    async fn store(&self, path: &Path, body: Incoming) -> io::Result<Vec<u8>> {
        let body = body.collect().await.map_err(io::Error::other)?;
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.join(format!("{number}.new"));
        fs::write(&new, body.to_bytes())?;
        fs::rename(new, path)?;
        Ok(Vec::new())
    }
}

fn response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
