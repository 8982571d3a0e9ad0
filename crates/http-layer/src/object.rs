//! The object: the length of the manifest in 8 little-endian bytes, the manifest, the qcow2 file.

use std::io::{self, Seek};

use cache_key::{BaseImage, SnapshotSpec};
use cache_layer::{
    BoxError, ContentHasher, Disk, LayerError, LayerErrorKind, Lookup, MAX_MANIFEST_BYTES,
    Manifest, ManifestError, Snapshot, Staging, blocking,
};
use futures::{StreamExt, stream};
use qcow2_header::{Qcow2Error, Qcow2Header, set_backing_file};
use reqwest::{Body, RequestBuilder, Response, header};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::answer::no_answer;

/// Gives `request` the object of `snapshot` as its body, which is read while it is sent.
pub(crate) async fn attach(
    request: RequestBuilder,
    snapshot: &Snapshot,
    context: &str,
) -> Result<RequestBuilder, LayerError> {
    let io = |error| LayerError::from_io(context, error);
    let file = File::open(snapshot.path()).await.map_err(io)?;
    let manifest = snapshot.manifest().to_json();
    let mut beginning = (manifest.len() as u64).to_le_bytes().to_vec();
    beginning.extend(manifest);
    let bytes = beginning.len() as u64 + file.metadata().await.map_err(io)?.len();
    let beginning = stream::iter([Ok(beginning.into())]);
    let body = Body::wrap_stream(beginning.chain(ReaderStream::new(file)));
    Ok(request.header(header::CONTENT_LENGTH, bytes).body(body))
}

/// Takes the snapshot of `spec` from `answer` into staging, if that is what it is.
pub(crate) async fn receive(
    mut answer: Response,
    spec: &SnapshotSpec,
    staging: &Staging,
    context: &str,
) -> Result<Lookup, LayerError> {
    let mut bytes = Vec::new();
    let length = loop {
        match bytes.first_chunk() {
            Some(length) => break u64::from_le_bytes(*length),
            None => next(&mut answer, &mut bytes, context).await?,
        }
    };
    if length > MAX_MANIFEST_BYTES {
        return Err(corrupt(context, "its manifest is too long"));
    }
    let end = size_of::<u64>() + length as usize;
    while bytes.len() < end {
        next(&mut answer, &mut bytes, context).await?;
    }
    let manifest = match Manifest::from_json(&bytes[size_of::<u64>()..end]) {
        // A key names, it does not prove.
        Ok(manifest) if *manifest.spec() != spec.canonical() => return Ok(Lookup::Miss),
        Ok(manifest) => manifest,
        Err(ManifestError::Newer { .. }) => return Ok(Lookup::Miss),
        Err(error) => return Err(corrupt(context, error)),
    };

    // Whatever happens from here on, the file goes with this.
    let staged = staging.file(&spec.key());
    let io = |error| LayerError::from_io(context, error);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(staged.path());
    let mut file = File::from_std(file.map_err(io)?);
    let (mut hasher, mut written) = (ContentHasher::new(), 0);
    bytes.drain(..end);
    loop {
        written += bytes.len() as u64;
        if written > manifest.disk().file_bytes {
            return Err(corrupt(context, "it is longer than its manifest says"));
        }
        hasher.update(&bytes);
        file.write_all(&bytes).await.map_err(io)?;
        bytes.clear();
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(no_answer(context, error)),
        }
    }
    file.flush().await.map_err(io)?;
    let declared = *manifest.disk();
    if (written, hasher.finish()) != (declared.file_bytes, declared.blake3) {
        return Err(corrupt(context, "its bytes are not those of its manifest"));
    }
    let (file, base) = (file.into_std().await, spec.base_image().clone());
    let checked = blocking(move || on_base_image(file, declared, &base)).await;
    let disk = checked.map_err(|error| match error {
        Qcow2Error::Io(error) => io(error),
        error => corrupt(context, error),
    })?;
    let snapshot = Snapshot::new(staged.path(), manifest.with_disk(disk));
    Ok(Lookup::Hit(snapshot.held_by(staged)))
}

/// Refuses what no snapshot may be, and has the file name this host's base image. Says what the file is then.
fn on_base_image(
    mut file: std::fs::File,
    disk: Disk,
    base: &BaseImage,
) -> Result<Disk, Qcow2Error> {
    let header = Qcow2Header::read(&mut file)?;
    let (named, format) = header.require_overlay()?;
    header.check_tables(&mut file)?;
    if (named, format) == (base.path(), base.format().as_str()) {
        return Ok(disk);
    }
    let path = base.path().to_string_lossy();
    set_backing_file(&mut file, &path, base.format().as_str())?;
    file.rewind()?;
    Ok(Disk::of_reader(file, disk.virtual_bytes)?)
}

/// The next bytes of an object that has more to come.
async fn next(answer: &mut Response, bytes: &mut Vec<u8>, context: &str) -> Result<(), LayerError> {
    match answer.chunk().await {
        Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
        Ok(None) => {
            return Err(corrupt(
                context,
                io::Error::from(io::ErrorKind::UnexpectedEof),
            ));
        }
        Err(error) => return Err(no_answer(context, error)),
    }
    Ok(())
}

fn corrupt(context: &str, source: impl Into<BoxError>) -> LayerError {
    LayerError::new(LayerErrorKind::Corrupt, context).with_source(source)
}
