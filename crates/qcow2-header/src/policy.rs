//! What a file may hold that we keep: far less than the format allows.

use std::path::Path;

use crate::extensions::{BITMAPS, EXTERNAL_DATA_FILE, FULL_DISK_ENCRYPTION};
use crate::{BackingFile, Encryption, Features, Qcow2Error, Qcow2Header};

impl Qcow2Header {
    /// Refuses everything but a plain overlay over one local disk image. Gives that image's path as
    /// the header has it and its format. Whether it is the right one is for the caller to say.
    ///
    /// # Errors
    ///
    /// [`Refused`](Qcow2Error::Refused): a backing file that is missing, of no stated format, neither
    /// qcow2 nor raw, or named by anything but a path; or what [`require_standalone`](Self::require_standalone)
    /// refuses.
    pub fn require_overlay(&self) -> Result<(&Path, &str), Qcow2Error> {
        self.require_plain()?;
        let backing = self
            .backing
            .as_ref()
            .ok_or_else(|| Qcow2Error::refused("it has no backing file"))?;
        let format = match backing.format.as_deref() {
            Some(format @ ("qcow2" | "raw")) => format,
            Some(other) => {
                return Err(Qcow2Error::refused(format!(
                    "its backing file's format is `{}`, not qcow2 or raw",
                    other.escape_debug()
                )));
            }
            None => {
                return Err(Qcow2Error::refused(
                    "it does not say its backing file's format, which QEMU would guess",
                ));
            }
        };
        Ok((backing.local_path()?, format))
    }

    /// Refuses everything but a plain disk with no backing file.
    ///
    /// # Errors
    ///
    /// [`Refused`](Qcow2Error::Refused): a backing file, an external data file, encryption, an unknown
    /// incompatible or autoclear feature, internal snapshots, persistent bitmaps, or a file that is marked
    /// corrupt or not closed.
    pub fn require_standalone(&self) -> Result<(), Qcow2Error> {
        self.require_plain()?;
        match &self.backing {
            None => Ok(()),
            Some(backing) => Err(Qcow2Error::refused(format!(
                "it has a backing file, `{}`",
                String::from_utf8_lossy(&backing.name).escape_debug()
            ))),
        }
    }

    fn require_plain(&self) -> Result<(), Qcow2Error> {
        let unknown = self.features.incompatible & !Features::KNOWN_INCOMPATIBLE;
        let autoclear = self.features.autoclear;
        let unknown_autoclear = autoclear & !Features::KNOWN_AUTOCLEAR;
        let has_extension = |kind| {
            self.extensions
                .iter()
                .any(|extension| extension.kind == kind)
        };
        let fault = if unknown != 0 {
            format!("it uses unknown incompatible features, {unknown:#x}")
        } else if unknown_autoclear != 0 {
            format!("it uses unknown autoclear features, {unknown_autoclear:#x}")
        } else if self.has(Features::EXTERNAL_DATA_FILE)
            || has_extension(EXTERNAL_DATA_FILE)
            || autoclear & Features::RAW_EXTERNAL_DATA != 0
        {
            "its data is in an external file".to_owned()
        } else if self.encryption != Encryption::None || has_extension(FULL_DISK_ENCRYPTION) {
            "it is encrypted".to_owned()
        } else if self.internal_snapshots != 0 {
            format!("it holds {} internal snapshots", self.internal_snapshots)
        } else if has_extension(BITMAPS) || autoclear & Features::BITMAPS != 0 {
            "it holds persistent bitmaps".to_owned()
        } else if self.has(Features::CORRUPT) {
            "it is marked corrupt".to_owned()
        } else if self.has(Features::DIRTY) {
            "it was not closed: its reference counts are marked dirty".to_owned()
        } else {
            return Ok(());
        };
        Err(Qcow2Error::Refused(fault))
    }
}

impl BackingFile {
    /// The name, if QEMU takes it for a path and nothing else.
    fn local_path(&self) -> Result<&Path, Qcow2Error> {
        let name = std::str::from_utf8(&self.name);
        let name = name.map_err(|_| Qcow2Error::refused("its backing file's name is not UTF-8"))?;
        if name.contains('\0') {
            return Err(Qcow2Error::refused(
                "its backing file's name has a NUL byte in it",
            ));
        }
        // QEMU takes what stands before the first colon for a protocol, unless there is a slash before it
        // (`path_has_protocol` in `block.c`); `json:` is one of them.
        match name.split_once(':') {
            Some((protocol, _)) if !protocol.contains('/') => Err(Qcow2Error::refused(format!(
                "its backing file, `{}`, is named by the protocol `{}` and not by a path",
                name.escape_debug(),
                protocol.escape_debug()
            ))),
            _ => Ok(Path::new(name)),
        }
    }
}
