use std::time::Duration;

/// What goes wrong with a request.
///
/// Those that concern an answer's body need one whose length is declared and greater than their `after`; on any
/// other the answer passes unharmed, and is not counted as a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The proxy answers, with an `<Error>` document as S3 writes them; the server never hears of the request.
    /// A status of 200 makes it the error that S3 can send behind a success, when it completes a multipart upload.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The document's `Code`.
        code: &'static str,
    },
    /// The connection is reset when the request's head has come; the server never hears of the request.
    DropBefore,
    /// The connection is reset after `after` bytes of the request's body, towards the server too.
    DropInRequest {
        /// Bytes of the body that reach the server.
        after: u64,
    },
    /// Nothing more of the request is read after `after` bytes of its body, until the client gives up. What the
    /// sockets between hold is a few MB more.
    StallInRequest {
        /// Bytes of the body that reach the server.
        after: u64,
    },
    /// The connection is reset when the server has answered: what was asked is done, and the client not told.
    DropAfter,
    /// The connection is reset after `after` bytes of the answer's body.
    DropInAnswer {
        /// Bytes of the body that are sent.
        after: u64,
    },
    /// The answer ends after `after` bytes of its body, with an orderly end of the connection.
    CutShort {
        /// Bytes of the body that are sent.
        after: u64,
    },
    /// Some bits of the answer's body are flipped, in places that follow from the script's seed.
    FlipBits {
        /// How many, in different bytes; as many as there are bytes, at most.
        bits: usize,
    },
    /// Nothing is answered, and nothing passed on, until the client gives up.
    Silence,
    /// The answer's head comes, and `after` bytes of its body, and then nothing until the client gives up.
    Stall {
        /// Bytes of the body that are sent.
        after: u64,
    },
    /// The answer's body comes in small pieces.
    Drip {
        /// Bytes of a piece, at least 1.
        bytes: usize,
        /// The pause before each.
        every: Duration,
    },
    /// The answer's `Content-Length` is wrong by so much; the connection ends behind the true body.
    WrongLength {
        /// What is added to it; it does not go below 0.
        by: i64,
    },
    /// The request is passed on this much later.
    Delay(Duration),
}

impl Fault {
    /// A store that has too much to do: 503 `SlowDown`.
    #[must_use]
    pub const fn slow_down() -> Self {
        Self::Answer {
            status: 503,
            code: "SlowDown",
        }
    }

    /// A store that has failed: 500 `InternalError`.
    #[must_use]
    pub const fn internal_error() -> Self {
        Self::Answer {
            status: 500,
            code: "InternalError",
        }
    }

    /// A credential that is good no more: 403 `ExpiredToken`.
    #[must_use]
    pub const fn expired_token() -> Self {
        Self::Answer {
            status: 403,
            code: "ExpiredToken",
        }
    }

    /// A success that was none: `InternalError` behind a 200.
    #[must_use]
    pub const fn error_in_success() -> Self {
        Self::Answer {
            status: 200,
            code: "InternalError",
        }
    }
}
