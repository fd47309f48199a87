//! What can go wrong in the shim.
//! Every module of the shim returns it; `main` prints it, `supervise` sends it to `wharf`.
//! It never decides what to do about an error.

use std::path::PathBuf;

use libcgroups::common::{AnyManagerError, CreateCgroupSetupError};
use libcontainer::error::LibcontainerError;
use nix::errno::Errno;
use wharf_protocol::ChannelError;

/// An error of the shim: what was tried, on which object, and the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// A file could not be read or written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried: "read", "write", "remove".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Another shim already serves this container.
    #[error("{} is served by another shim", .0.display())]
    Taken(PathBuf),
    /// The socket to `wharf` failed.
    #[error("talk to wharf")]
    Channel(#[from] ChannelError),
    /// A system call of the shim itself failed.
    #[error("{doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A request came when it makes no sense.
    #[error("a request to {0}")]
    OutOfOrder(&'static str),
    /// libcontainer refused or failed.
    #[error("{doing}")]
    Container {
        /// What was tried.
        doing: &'static str,
        /// Its reason.
        source: Box<LibcontainerError>,
    },
    /// The container's control groups can't be found.
    #[error("find the control groups {}", path.display())]
    CgroupSetup {
        /// Path below each hierarchy's root.
        path: PathBuf,
        /// The reason.
        source: CreateCgroupSetupError,
    },
    /// The container's control groups can't be changed or removed.
    #[error("{doing} the control groups {}", path.display())]
    Cgroup {
        /// What was tried.
        doing: &'static str,
        /// Path below each hierarchy's root.
        path: PathBuf,
        /// The reason.
        source: Box<AnyManagerError>,
    },
}

impl ShimError {
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> ShimError {
        let path = path.into();
        move |source| ShimError::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn system(doing: &'static str) -> impl FnOnce(Errno) -> ShimError {
        move |source| ShimError::System { doing, source }
    }
}

/// The error and each cause below it, in one line. A cause that its parent already quotes is not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
