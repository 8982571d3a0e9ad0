//! The same bytes as they are, by the same client: what the server and the way to it allow.

use std::fs;
use std::io::Write;
use std::path::Path;

use futures::TryStreamExt;
use opendal::Operator;
use opendal::services::S3;
use store_testkit::servers::Bucket;

use crate::{median, timed};

const PART: usize = 8 << 20;
const AT_ONCE: usize = 4;

/// What it takes to put `file` as it is, and to get it, in seconds.
pub(crate) async fn transfer(bucket: &Bucket, file: &Path, runs: usize) -> (f64, f64) {
    let store = store(bucket);
    let bytes = bytes::Bytes::from(fs::read(file).unwrap());
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let put = async {
            let writer = store.writer_with("plain").chunk(PART).concurrent(AT_ONCE);
            let mut writer = writer.await.unwrap();
            writer.write(bytes.clone()).await.unwrap();
            writer.close().await.unwrap();
        };
        puts.push(timed(put).await.0);
        let get = async {
            let reader = store.reader_with("plain").chunk(PART).concurrent(AT_ONCE);
            drain(reader.await.unwrap(), bytes.len() as u64).await;
        };
        gets.push(timed(get).await.0);
    }
    store.delete("plain").await.unwrap();
    (median(puts), median(gets))
}

/// What one request takes that brings `object`, unpacked as it comes into the file `to`.
pub(crate) async fn one_stream(bucket: &Bucket, object: &str, to: &Path) -> f64 {
    let store = store(bucket);
    let bytes = store.stat(object).await.unwrap().content_length();
    let (pieces, mut arriving) = tokio::sync::mpsc::channel::<bytes::Bytes>(16);
    let mut file = zstd::stream::write::Decoder::new(fs::File::create(to).unwrap()).unwrap();
    let get = async {
        let unpack = tokio::task::spawn_blocking(move || {
            while let Some(piece) = arriving.blocking_recv() {
                file.write_all(&piece).unwrap();
            }
            file.flush().unwrap();
        });
        let reader = store.reader(object).await.unwrap();
        let mut stream = reader.into_stream(0..bytes).await.unwrap();
        while let Some(piece) = stream.try_next().await.unwrap() {
            pieces.send(piece.to_bytes()).await.unwrap();
        }
        drop(pieces);
        unpack.await.unwrap();
    };
    timed(get).await.0
}

async fn drain(reader: opendal::Reader, bytes: u64) {
    let mut stream = reader.into_stream(0..bytes).await.unwrap();
    let mut seen = 0;
    while let Some(piece) = stream.try_next().await.unwrap() {
        seen += piece.len() as u64;
    }
    assert_eq!(seen, bytes);
}

fn store(bucket: &Bucket) -> Operator {
    opendal::install_default();
    let keys = bucket.keys.as_ref().unwrap();
    let s3 = S3::default()
        .bucket(&bucket.name)
        .endpoint(&bucket.endpoint)
        .region(bucket.region)
        .access_key_id(&keys.access)
        .secret_access_key(&keys.secret)
        .disable_config_load()
        .disable_ec2_metadata();
    Operator::new(s3).unwrap()
}
