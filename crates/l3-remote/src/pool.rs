use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory for what a transfer moves, used again and again. Allocating and freeing megabytes on many threads
/// would have the allocator hold several times of what is in use.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// An empty vector at first, which goes back to where it came from.
pub(crate) struct Pooled {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// A vector with room for `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Pooled {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut vector = idle.pop().unwrap_or_default();
        drop(idle);
        vector.reserve_exact(bytes);
        Pooled {
            bytes: vector,
            pool: self.clone(),
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut idle = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(bytes);
    }
}

impl Deref for Pooled {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl PartialEq for Pooled {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Pooled {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_used_again_and_is_empty() {
        let pool = Pool::default();
        let mut one = pool.take(10);
        one.extend([1, 2, 3]);
        let room = one.capacity();
        drop(one);
        let again = pool.take(room);
        assert_eq!((again.len(), again.capacity()), (0, room));
        assert!(pool.0.lock().unwrap().is_empty());
    }
}
