//! Why a call was refused: the text that the user reads, and the status of HTTP that goes with it.
//! Drivers return it; `exchange` renders it under both keys that dockerd knows.
//! It must never be an answer with status 200: IPAM's `Err` would be passed over there.

use hyper::StatusCode;
use wharfline_core::error::Error;

/// What the engine refused, as dockerd is told.
pub(crate) fn refusal(error: Error) -> Refusal {
    Refusal::from(error)
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// A call that was understood and could not be done: status 500, which dockerd decodes for every kind of driver.
    pub fn new(message: impl Into<String>) -> Self {
        Self::with(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// A body that could not be read.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, message)
    }

    /// A path that this plugin does not serve.
    pub fn unknown_path(path: &str) -> Self {
        Self::with(StatusCode::NOT_FOUND, format!("{path}: no such call"))
    }

    pub(crate) fn with(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}
