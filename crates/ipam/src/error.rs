//! What can go wrong with addresses, and the CNI code that each failure has.
//! Returned by every function of this crate; the process boundary turns it into the error document.
//! Must never be matched by its text.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use wharfline_spec::BadField;
use wharfline_spec::cni::{CniError, code};

/// A failure of the allocator or of its lease store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of the configuration is wrong.
    #[error(transparent)]
    Config(#[from] BadField),
    /// `CNI_ARGS` is wrong.
    #[error("CNI_ARGS: {key}={value}: {problem}")]
    Args {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `CNI_ARGS` holds a key that nobody here knows.
    #[error(transparent)]
    Protocol(#[from] CniError),
    /// The file system refused.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Another process holds the lock of the lease directory for longer than we wait.
    #[error("lock {}: held by another process for {} s", path.display(), waited.as_secs())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// Every address of a range set is taken.
    #[error("failed to allocate for range {set}: no IP addresses available in range set: {ranges}")]
    Exhausted {
        /// Index of the range set.
        set: usize,
        /// The ranges as text.
        ranges: String,
        /// How many addresses the set has.
        total: u128,
    },
    /// The only free addresses of a range set were released within the cooldown.
    #[error(
        "failed to allocate for range {set}: only addresses in cooldown are free in range set: {ranges}"
    )]
    Cooling {
        /// Index of the range set.
        set: usize,
        /// The ranges as text.
        ranges: String,
    },
    /// The same interface of the same container has an address already.
    #[error(
        "failed to allocate for range {set}: {ip} has been allocated to {holder}, \
         duplicate allocation is not allowed"
    )]
    Duplicate {
        /// Index of the range set.
        set: usize,
        /// The address that it has.
        ip: IpAddr,
        /// Container and interface.
        holder: String,
    },
    /// A requested address is another's.
    #[error("requested IP address {ip} is not available in {ranges}: {why}")]
    Requested {
        /// The address.
        ip: IpAddr,
        /// Of what it was requested: a range set, or a network.
        ranges: String,
        /// Who has it, or why it cannot be given out.
        why: String,
    },
    /// Requested addresses that no range set holds.
    #[error("failed to allocate all requested IPs: {0}")]
    Unplaced(String),
    /// CHECK: the interface does not have the address that it should have.
    #[error("check lease of {owner} on {network}: {problem}")]
    NotLeased {
        /// Container and interface.
        owner: String,
        /// The network.
        network: String,
        /// What is wrong.
        problem: String,
    },
    /// STATUS: no further address can be given out.
    #[error("network {network}: range set {set} ({ranges}) is exhausted")]
    Unavailable {
        /// The network.
        network: String,
        /// Index of the range set.
        set: usize,
        /// The ranges as text.
        ranges: String,
        /// Addresses free now, of how many, and how many only wait for their cooldown.
        usage: Usage,
    },
}

/// How full a range set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Addresses that can be given out now.
    pub free: u128,
    /// Addresses released within the cooldown.
    pub cooling: u128,
    /// All addresses of the set, gateways left out.
    pub total: u128,
}

impl Error {
    /// The code of CNI SPEC 1.1.0, section "Error", or one of ours from 100.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Error::Config(_) => code::INVALID_CONFIG,
            Error::Args { .. } => code::INVALID_ENVIRONMENT,
            Error::Protocol(error) => error.code,
            Error::Io { .. } => code::IO_FAILURE,
            Error::Busy { .. } | Error::Cooling { .. } => code::TRY_AGAIN_LATER,
            Error::Exhausted { .. } => code::EXHAUSTED,
            Error::Duplicate { .. } | Error::Requested { .. } | Error::Unplaced(_) => {
                code::CONFLICT
            }
            Error::NotLeased { .. } => code::CHECK_FAILED,
            Error::Unavailable { .. } => code::NOT_AVAILABLE,
        }
    }

    /// What stands in the `details` of the error document.
    #[must_use]
    pub fn details(&self) -> String {
        match self {
            Error::Protocol(error) => error.details.clone(),
            Error::Exhausted { total, .. } => format!("0 of {total} addresses free"),
            Error::Unavailable {
                usage:
                    Usage {
                        free,
                        cooling: 0,
                        total,
                    },
                ..
            } => {
                format!("{free} of {total} addresses free")
            }
            Error::Unavailable {
                usage:
                    Usage {
                        free,
                        cooling,
                        total,
                    },
                ..
            } => {
                format!("{free} of {total} addresses free, {cooling} in cooldown")
            }
            _ => String::new(),
        }
    }
}

impl From<Error> for CniError {
    fn from(error: Error) -> CniError {
        match error {
            Error::Protocol(error) => error,
            other => CniError::new(other.code(), format!("host-local: {other}"))
                .with_details(other.details()),
        }
    }
}
