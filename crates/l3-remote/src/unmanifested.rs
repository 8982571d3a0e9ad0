//! An object that is a zstd file and says nothing about itself: what somebody else's cache wrote under the
//! name that is asked for. It is taken only where the settings say so, since nothing proves what is in it.

use cache_key::SnapshotSpec;
use cache_layer::{InPhase, LayerError, Manifest, Phase, Provenance, Snapshot, blocking};
use jiff::Timestamp;
use tokio::sync::mpsc;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::body::Body;
use crate::receive::{Received, Receiver, next};
use crate::unpacked::{Unpacked, UnpackedError};

/// The largest file that such an object may unpack to, whatever its header says, in bytes.
pub const LARGEST_UNMANIFESTED: u64 = 64 << 30;

/// A decoder's window, as a power of two bytes: 32 MiB, more than any level but the very highest uses.
const LARGEST_WINDOW: u32 = 25;
/// Unpacks `beginning` and then `body`, and takes it for the snapshot of `spec` if it is a sound overlay.
pub(crate) async fn take_in(
    receiver: &Receiver<'_>,
    mut body: Body,
    beginning: Vec<u8>,
    path: &str,
    spec: &SnapshotSpec,
    source: &str,
) -> Result<Received, LayerError> {
    let key = spec.key();
    let phase = InPhase::begin(receiver.progress, &key, Phase::Download);
    let total = Some(body.version().bytes);
    let provenance = Provenance::new(
        body.version().modified.unwrap_or(Timestamp::UNIX_EPOCH),
        format!("unknown, found without a manifest in {source}"),
    );
    let file = receiver.staging.file(&key);
    let disk = Unpacked::create(file.path(), 0);
    let disk = disk.map_err(|error| error.of_object(path))?;

    let (pieces, unpacked) = mpsc::channel::<Vec<u8>>(1);
    let fetch = async {
        let pieces = pieces;
        let mut piece = beginning;
        let mut done = 0;
        loop {
            done += piece.len() as u64;
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
            receiver.moved(&key, done, total);
            match next(&mut body, path).await? {
                Some(bytes) => piece = bytes.to_vec(),
                None => return Ok(()),
            }
        }
    };
    let (fetched, disk) = tokio::join!(fetch, blocking(|| inflate(disk, unpacked)));
    // An error of the store explains one of the decoder.
    fetched?;
    let disk = disk.map_err(|error| error.of_object(path))?;
    let base = spec.base_image().clone();
    let finished = blocking(move || disk.finish(None, Some(&base))).await;
    let disk = finished.map_err(|error| error.of_object(path))?;
    let manifest = Manifest::new(spec.canonical(), disk, provenance);
    let snapshot = Snapshot::new(file.path().to_owned(), manifest);
    phase.done();
    Ok(Received::Snapshot(snapshot.held_by(file)))
}

/// Unpacks what comes until there is no more, however many frames it is.
fn inflate(
    mut disk: Unpacked,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<Unpacked, UnpackedError> {
    let mut decoder = Decoder::new().map_err(UnpackedError::Zstd)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW))
        .map_err(UnpackedError::Zstd)?;
    let mut raw = vec![0; 1 << 20];
    let mut header = Vec::new();
    let mut is_between_frames = false;
    while let Some(piece) = pieces.blocking_recv() {
        let mut input = InBuffer::around(&piece);
        loop {
            let mut output = OutBuffer::around(&mut raw[..]);
            let hint = decoder.run(&mut input, &mut output);
            is_between_frames = hint.map_err(UnpackedError::Zstd)? == 0;
            let made = output.pos();
            if header.len() < HEADER_BYTES {
                let missing = HEADER_BYTES - header.len();
                header.extend_from_slice(&raw[..made.min(missing)]);
                disk.limit(limit(&header)?);
            }
            disk.write(&raw[..made])?;
            disk.hash(&raw[..made]);
            let is_used_up = input.pos == piece.len();
            if is_used_up && (is_between_frames || made < raw.len()) {
                break;
            }
        }
    }
    match is_between_frames {
        true => Ok(disk),
        false => Err(UnpackedError::CutOff),
    }
}

/// As much of a qcow2 header as says how large its file may be.
const HEADER_BYTES: usize = 32;

/// The most that a file which begins with `header` may hold: every cluster of its disk, 16 bytes of tables and
/// 8 of reference counts for each, and a few clusters more for what these are rounded up to.
///
/// Nothing else of the header is looked at yet: it speaks of tables that have not arrived.
fn limit(header: &[u8]) -> Result<u64, UnpackedError> {
    if header.len() < HEADER_BYTES {
        return Ok(HEADER_BYTES as u64);
    }
    let not_qcow2 = || UnpackedError::NotQcow2;
    let bits = header[20..]
        .first_chunk()
        .map(|bits| u32::from_be_bytes(*bits));
    let bytes = header[24..]
        .first_chunk()
        .map(|size| u64::from_be_bytes(*size));
    let (bits, bytes) = bits.zip(bytes).ok_or_else(not_qcow2)?;
    if !header.starts_with(b"QFI\xfb") || !(9..=21).contains(&bits) {
        return Err(not_qcow2());
    }
    let cluster = 1_u64 << bits;
    let tables = bytes.div_ceil(cluster).saturating_mul(24);
    let limit = bytes.saturating_add(tables).saturating_add(16 * cluster);
    Ok(limit.min(LARGEST_UNMANIFESTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bits: u32, bytes: u64) -> Vec<u8> {
        let mut header = b"QFI\xfb".to_vec();
        header.resize(20, 0);
        header.extend(bits.to_be_bytes());
        header.extend(bytes.to_be_bytes());
        header
    }

    #[test]
    fn a_file_may_be_as_large_as_its_own_disk_and_tables_and_never_larger_than_the_maximum() {
        let gib = 1 << 30;
        let of_gib = limit(&header(16, gib)).unwrap();
        assert!((gib..gib + (8 << 20)).contains(&of_gib), "{of_gib}");
        assert_eq!(limit(&header(9, u64::MAX)).unwrap(), LARGEST_UNMANIFESTED);
        for bad in [header(8, gib), header(63, gib), vec![0; 32]] {
            assert!(matches!(limit(&bad), Err(UnpackedError::NotQcow2)));
        }
    }
}
