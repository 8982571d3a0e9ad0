use std::fmt;

/// Credentials of S3 that are handed in, rather than found where S3's own tools find them.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The access key.
    pub access: String,
    /// The secret key.
    pub secret: String,
    /// The session token that goes with temporary ones.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Keys").finish_non_exhaustive()
    }
}
