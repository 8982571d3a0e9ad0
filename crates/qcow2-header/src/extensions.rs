//! The header extensions: type and length, 4 bytes each, then data padded to 8 bytes, until type 0.

use crate::Qcow2Error;

/// One extension as it stands in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

pub(crate) const END: u32 = 0;
pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
pub(crate) const EXTERNAL_DATA_FILE: u32 = 0x4441_5441;
pub(crate) const FULL_DISK_ENCRYPTION: u32 = 0x0537_be77;
pub(crate) const BITMAPS: u32 = 0x2385_2875;

/// The format has six; what more there may ever be is no reason to keep a cluster full of them in memory.
pub(crate) const MOST_EXTENSIONS: usize = 64;

/// Reads the extensions in `area`: what lies between the header's fields and the backing name, or the end
/// of the first cluster. They end at type 0 or with the area.
///
/// No type stands there twice: the format forbids it, and QEMU would follow the last one where others follow
/// the first.
pub(crate) fn parse(mut area: &[u8]) -> Result<Vec<Extension>, Qcow2Error> {
    let mut extensions = Vec::<Extension>::new();
    while let Some((head, rest)) = area.split_first_chunk::<8>() {
        let [a, b, c, d, e, f, g, h] = *head;
        let (kind, length) = (
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        );
        if kind == END {
            break;
        }
        let Some(data) = rest.get(..length as usize) else {
            return Err(Qcow2Error::malformed(format!(
                "header extension {kind:#010x} of {length} bytes does not fit the {} bytes left for it",
                rest.len()
            )));
        };
        if extensions.iter().any(|earlier| earlier.kind == kind) {
            return Err(Qcow2Error::malformed(format!(
                "header extension {kind:#010x} is there twice"
            )));
        }
        if extensions.len() == MOST_EXTENSIONS {
            return Err(Qcow2Error::malformed(format!(
                "there are more than {MOST_EXTENSIONS} header extensions"
            )));
        }
        extensions.push(Extension {
            kind,
            data: data.to_vec(),
        });
        area = rest
            .get((length as usize).next_multiple_of(8)..)
            .unwrap_or_default();
    }
    Ok(extensions)
}

/// The extensions as they stand in a header, with the end mark.
pub(crate) fn encode(extensions: &[Extension]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Extension { kind, data } in extensions {
        bytes.extend(kind.to_be_bytes());
        // What was read from a header, or is a format's name, is far below 4 GiB.
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.extend([0; 8]);
    bytes
}
