//! What can go wrong with a volume: which one, what was tried, what the kernel said.
//! Every module returns it; the driver hands its text to Docker and to `wharf volume`.
//! It must never hold an option's value: one may be a password.

use std::io;
use std::path::{Path, PathBuf};

use wharfline_docker::Refusal;
use wharfline_kernel::KernelError;
use wharfline_spec::{BadName, VolumeName};

/// The result of anything about volumes.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("option {key}: {problem}")]
    Option { key: String, problem: String },
    #[error("volume {0}: there is no such volume")]
    Unknown(VolumeName),
    #[error("volume {0}: the name is taken")]
    Taken(VolumeName),
    #[error("volume {name}: it is arriving from {from}: `wharf volume rm {name}` gives that up")]
    Arriving { name: VolumeName, from: String },
    #[error("volume {name} has snapshots, which are not sent: {}; --drop-snapshots lets them go", .snapshots.join(", "))]
    HasSnapshots {
        name: VolumeName,
        snapshots: Vec<String>,
    },
    #[error("volume {name}: it is there already, and option {key} differs")]
    Different { name: VolumeName, key: String },
    #[error("volume {name} is in use{}", by(.users))]
    InUse {
        name: VolumeName,
        users: Vec<String>,
    },
    #[error("volume {name}: {doing} goes on: try again when it has ended")]
    Busy {
        name: VolumeName,
        doing: &'static str,
    },
    #[error("volume {volume}: snapshot {snapshot}: {problem}")]
    Snapshot {
        volume: VolumeName,
        snapshot: VolumeName,
        problem: &'static str,
    },
    #[error("a {backend} volume {problem}")]
    Backend {
        backend: &'static str,
        problem: String,
    },
    #[error("{0}")]
    Kernel(#[from] KernelError),
    #[error("{path}: {cause}", path = .path.display())]
    At { path: PathBuf, cause: KernelError },
    #[error("{tried} {}: {cause}", .path.display())]
    File {
        tried: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error("{path}: {cause}", path = .path.display())]
    Record {
        path: PathBuf,
        cause: serde_json::Error,
    },
    #[error("{program}: {told}")]
    Program { program: String, told: String },
    #[error("{doing}: no answer within {seconds} s")]
    Late { doing: String, seconds: u64 },
    #[error("{0}")]
    Work(String),
    #[error("whoever asked is gone")]
    Gone,
}

fn by(users: &[String]) -> String {
    match users {
        [] => String::new(),
        users => format!(" by {}", users.join(", ")),
    }
}

impl Error {
    /// For `map_err` of a call of std on a file.
    pub(crate) fn file(
        tried: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| Self::File { tried, path, cause }
    }

    /// For `map_err` of a call of the kernel's that knows a descriptor, and not what it is of.
    pub(crate) fn at(path: impl AsRef<Path>) -> impl FnOnce(KernelError) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| Self::At { path, cause }
    }

    pub(crate) fn option(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Option {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::new(error.to_string())
    }
}
