//! What the kernel refused: the action, its object, the errno, and the kernel's own words (extack).
//! Every module of this crate returns it; `core` wraps it with what the verb was doing.
//! It must never be matched by text: callers look at [`KernelError::errno`].

use std::fmt;
use std::io;

use nix::errno::Errno;

/// A refusal by the kernel, told once: what was tried on which object, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    tried: String,
    errno: Errno,
    extack: Option<String>,
}

/// The result of anything that asks the kernel.
pub type Result<T> = std::result::Result<T, KernelError>;

impl KernelError {
    /// `tried` reads as an infinitive with its object: "attach v1a2b3 to bridge cni0".
    pub fn new(tried: impl Into<String>, errno: Errno) -> Self {
        Self {
            tried: tried.into(),
            errno,
            extack: None,
        }
    }

    /// From a failed system call of std; an error without a number becomes EIO.
    pub fn from_io(tried: impl Into<String>, error: &io::Error) -> Self {
        Self::new(
            tried,
            error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        )
    }

    /// Adds the kernel's extended acknowledgement (netlink(7), `NLMSGERR_ATTR_MSG`).
    pub fn with_extack(mut self, text: Option<String>) -> Self {
        self.extack = text;
        self
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The kernel's extended acknowledgement, where it gave one.
    pub fn extack(&self) -> Option<&str> {
        self.extack.as_deref()
    }

    /// Whether the object named was simply not there: success for a deletion.
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno,
            Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENXIO
        )
    }

    /// Whether a capability is missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno, Errno::EPERM | Errno::EACCES)
    }

    /// Whether something is still in what was to be deleted.
    pub fn is_not_empty(&self) -> bool {
        self.errno == Errno::ENOTEMPTY
    }

    /// Whether the object was there before: success for an *ensure*.
    pub fn is_present(&self) -> bool {
        self.errno == Errno::EEXIST
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} ({:?})",
            self.tried,
            self.errno.desc().to_lowercase(),
            self.errno
        )?;
        match &self.extack {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_action_the_object_and_the_kernels_words() {
        let error = KernelError::new("attach v3f2a1 to bridge wl0", Errno::EBUSY)
            .with_extack(Some("Device is already a port".into()));
        assert_eq!(
            error.to_string(),
            "attach v3f2a1 to bridge wl0: device or resource busy (EBUSY): Device is already a port"
        );
    }
}
