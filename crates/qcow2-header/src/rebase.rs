use std::io::{Read, Seek, SeekFrom, Write};

use crate::extensions::{self, BACKING_FORMAT, Extension, MOST_EXTENSIONS};
use crate::{Features, Qcow2Error, Qcow2Header};

/// The fields that say where the backing file's name is, and how long it is.
const BACKING_OFFSET_AT: usize = 8;
const BACKING_BYTES_AT: usize = 16;
/// Version 3's; version 2 ends before it.
const AUTOCLEAR_AT: usize = 88;
const LONGEST_BACKING_NAME: usize = 1023;

/// Names another backing file, which must have the same contents as the one named so far, in the header
/// of the qcow2 file `file`. Nothing past the first cluster changes, and everything else in it is kept but
/// the autoclear features that we do not know: whoever writes has to clear them.
///
/// The header area is written in one write: call it on a file that nobody else has open.
///
/// # Errors
///
/// The header does not read, or the name does not fit: [`Refused`](Qcow2Error::Refused).
pub fn set_backing_file(
    file: &mut (impl Read + Write + Seek),
    name: &str,
    format: &str,
) -> Result<(), Qcow2Error> {
    let header = Qcow2Header::read(&mut *file)?;
    let mut extensions = header.extensions.clone();
    extensions.retain(|extension| extension.kind != BACKING_FORMAT);
    extensions.insert(
        0,
        Extension {
            kind: BACKING_FORMAT,
            data: format.as_bytes().to_vec(),
        },
    );

    if extensions.len() > MOST_EXTENSIONS {
        return Err(Qcow2Error::refused(format!(
            "a backing format does not go into a header with {MOST_EXTENSIONS} extensions"
        )));
    }

    let fields = header.fields_length as usize;
    let mut area = vec![0; fields];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut area)?;
    area.extend(extensions::encode(&extensions));
    let name_at = area.len();
    area.extend(name.as_bytes());

    let room = usize::try_from(header.cluster_bytes()).unwrap_or(usize::MAX);
    if name.is_empty() || name.len() > LONGEST_BACKING_NAME || area.len() > room {
        return Err(Qcow2Error::refused(format!(
            "a backing file name of {} bytes does not fit a header with {room} bytes of room, or is longer than {LONGEST_BACKING_NAME}",
            name.len()
        )));
    }
    if header.version >= 3 {
        let kept = header.features.autoclear & Features::KNOWN_AUTOCLEAR;
        area[AUTOCLEAR_AT..][..8].copy_from_slice(&kept.to_be_bytes());
    }
    area[BACKING_OFFSET_AT..][..8].copy_from_slice(&(name_at as u64).to_be_bytes());
    area[BACKING_BYTES_AT..][..4].copy_from_slice(&(name.len() as u32).to_be_bytes());
    // What the old name or extensions held beyond the new ones would read as extensions to nobody, but
    // two files with one meaning should have one content.
    let used = header.first_cluster_bytes_used();
    if area.len() < used {
        area.resize(used, 0);
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&area)?;
    Ok(())
}

impl Qcow2Header {
    /// Bytes from the start of the file to the end of the extensions and the backing name.
    fn first_cluster_bytes_used(&self) -> usize {
        let extensions = extensions::encode(&self.extensions).len();
        let name = self
            .backing
            .as_ref()
            .map_or(0, |backing| backing.name.len());
        // A gap between the two, which no writer leaves, would be left as it is.
        self.fields_length as usize + extensions + name
    }
}
