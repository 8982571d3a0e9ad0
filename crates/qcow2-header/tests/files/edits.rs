//! Edits of a stored file, at the places that matter.

use std::path::PathBuf;

pub(crate) const V3_FIELDS: usize = 104;

/// The folder with the stored files.
pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/qcow2")
}

/// Every stored file, good and hostile.
pub(crate) fn stored_files() -> Vec<PathBuf> {
    [fixtures(), fixtures().join("hostile")]
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "qcow2"))
        .collect()
}

pub(crate) fn stored(name: &str) -> Image {
    let path = fixtures().join(name);
    Image(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The bytes of a qcow2 file that is about to be spoilt.
#[derive(Clone)]
pub(crate) struct Image(pub(crate) Vec<u8>);

impl Image {
    pub(crate) fn put(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }

    pub(crate) fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_be_bytes());
    }

    pub(crate) fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_be_bytes());
    }

    pub(crate) fn u64_at(&self, at: usize) -> u64 {
        u64::from_be_bytes(*self.0[at..].first_chunk().unwrap())
    }

    pub(crate) fn cluster_bytes(&self) -> usize {
        1 << self.0[23]
    }

    /// Where the L1 table begins.
    pub(crate) fn l1(&self) -> usize {
        self.u64_at(40) as usize
    }

    /// Where the refcount table begins.
    pub(crate) fn refcount_table(&self) -> usize {
        self.u64_at(48) as usize
    }

    /// Where the first refcount block begins.
    pub(crate) fn refcount_block(&self) -> usize {
        self.u64_at(self.refcount_table()) as usize
    }

    /// Where the first L2 table begins.
    pub(crate) fn l2(&self) -> usize {
        (self.u64_at(self.l1()) & 0x00ff_ffff_ffff_fe00) as usize
    }

    /// Names another backing file in the place of the present one, which ends what is in the header.
    pub(crate) fn name_backing(&mut self, name: &[u8]) {
        let at = self.u64_at(8) as usize;
        self.put(at, name);
        self.put_u32(16, name.len() as u32);
    }

    /// Puts an extension in front of the others.
    pub(crate) fn add_extension(&mut self, kind: u32, data: &[u8]) {
        let mut extension = [kind.to_be_bytes(), (data.len() as u32).to_be_bytes()].concat();
        extension.extend(data);
        extension.resize(extension.len().next_multiple_of(8), 0);
        let first_cluster = self.cluster_bytes();
        let name_at = self.u64_at(8) + extension.len() as u64;
        let at = u32::from_be_bytes(*self.0[100..].first_chunk().unwrap()) as usize;
        self.0.splice(at..at, extension.iter().copied());
        self.0.drain(first_cluster..first_cluster + extension.len());
        self.put_u64(8, name_at);
    }

    /// Sets the format's name that the first extension holds.
    pub(crate) fn name_backing_format(&mut self, name: &[u8]) {
        let at = u32::from_be_bytes(*self.0[100..].first_chunk().unwrap()) as usize;
        self.put_u32(at + 4, name.len() as u32);
        self.put(at + 8, &[0; 8]);
        self.put(at + 8, name);
    }
}
