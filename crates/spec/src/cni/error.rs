//! The error document of the CNI protocol and its codes.
//! Made by parsers, plugins and the process boundary; read back from foreign plugins.
//! Must never carry a code that the specification gives another meaning.

use serde_json::{Value, json};

use super::Version;
use crate::fields::BadField;

/// Error codes: 1 to 99 from CNI SPEC 1.1.0, section "Error"; 100 and above are ours.
pub mod code {
    /// The configuration's version is not supported by the plugin.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported; the message has key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or gone; the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_` variable is missing or invalid; the message names it.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO_FAILURE: u32 = 5;
    /// The document cannot be decoded.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is invalid.
    pub const INVALID_CONFIG: u32 = 7;
    /// The container's network namespace cannot be used (libcni's `ErrInvalidNetNS`).
    pub const INVALID_NETNS: u32 = 8;
    /// A passing condition; the runtime should try again.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: no ADD can be served.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: no ADD can be served, and existing containers may lack connectivity.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// Ours: what is asked for belongs to someone else (a port, an address, a name).
    pub const CONFLICT: u32 = 100;
    /// Ours: nothing is left to give (addresses of a range).
    pub const EXHAUSTED: u32 = 101;
    /// Ours: the kernel refused; the message has its error.
    pub const KERNEL_REFUSED: u32 = 102;
    /// Ours: CHECK found a difference from what ADD made.
    pub const CHECK_FAILED: u32 = 103;
    /// A defect of the plugin (libcni's `ErrInternal`).
    pub const INTERNAL: u32 = 999;
}

/// An error as it crosses the process boundary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}{}{details}", if .details.is_empty() { "" } else { "; " })]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    /// What was tried, on what, and why it failed: one line.
    pub msg: String,
    /// The chain of causes and failed undos; may be empty.
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> CniError {
        CniError {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> CniError {
        self.details = details.into();
        self
    }

    /// An invalid configuration (code 7).
    pub fn invalid_config(msg: impl Into<String>) -> CniError {
        CniError::new(code::INVALID_CONFIG, msg)
    }

    /// A configuration of a version that is not supported (code 1), in libcni's words.
    #[must_use]
    pub fn incompatible(stated: &str, supported: &[Version]) -> CniError {
        let supported: Vec<&str> = supported.iter().map(|v| v.as_str()).collect();
        CniError::new(code::INCOMPATIBLE_VERSION, "incompatible CNI versions").with_details(
            format!("config is {stated:?}, plugin supports {supported:?}"),
        )
    }

    /// The error document in the form of `version` (which only its `cniVersion` tells).
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut doc = json!({
            "cniVersion": version.as_str(),
            "code": self.code,
            "msg": self.msg,
        });
        if !self.details.is_empty() {
            doc["details"] = Value::from(self.details.clone());
        }
        doc
    }

    /// Reads an error document; `None` when `doc` is none (the reference requires `code` and `msg`).
    #[must_use]
    pub fn from_json(doc: &Value) -> Option<CniError> {
        let code = doc.get("code")?.as_u64()?;
        let text = |key| {
            doc.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Some(CniError {
            code: u32::try_from(code).unwrap_or(code::INTERNAL),
            msg: text("msg"),
            details: text("details"),
        })
    }
}

/// A key that cannot be used is an invalid configuration (code 7).
impl From<BadField> for CniError {
    fn from(bad: BadField) -> CniError {
        CniError::invalid_config(bad.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_reads_back() {
        let error =
            CniError::new(code::TRY_AGAIN_LATER, "lock lab: busy").with_details("flock: EAGAIN");
        for version in Version::ALL {
            let doc = error.to_json(version);
            assert_eq!(doc["cniVersion"], version.as_str());
            assert_eq!(CniError::from_json(&doc), Some(error.clone()));
        }
        assert_eq!(error.to_string(), "lock lab: busy; flock: EAGAIN");
    }

    #[test]
    fn a_result_is_not_taken_for_an_error() {
        assert_eq!(
            CniError::from_json(&json!({"cniVersion": "1.0.0", "ips": []})),
            None
        );
        assert_eq!(CniError::from_json(&json!("code")), None);
    }
}
