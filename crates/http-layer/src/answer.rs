//! What a server's answers mean to the caller of a layer.

use cache_layer::{LayerError, LayerErrorKind};
use reqwest::{Response, StatusCode};

/// There was no answer, or it broke off. The URL, which may hold a password, is not told.
pub(crate) fn no_answer(context: impl Into<String>, error: reqwest::Error) -> LayerError {
    let kind = LayerErrorKind::Unavailable {
        temporary: !error.is_builder(),
    };
    LayerError::new(kind, context).with_source(error.without_url())
}

/// An answer that is no error. Whoever can do with another one has looked at it before.
pub(crate) fn require_success(context: &str, answer: Response) -> Result<Response, LayerError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let context = format!("{context}: the server answers {status}");
    Err(LayerError::new(kind(status), context))
}

fn kind(status: StatusCode) -> LayerErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => LayerErrorKind::Denied,
        StatusCode::INSUFFICIENT_STORAGE | StatusCode::PAYLOAD_TOO_LARGE => {
            LayerErrorKind::OutOfSpace
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            LayerErrorKind::Unavailable { temporary: true }
        }
        status => LayerErrorKind::Unavailable {
            temporary: status.is_server_error(),
        },
    }
}
