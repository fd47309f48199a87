//! What can go wrong with backups, in words for the person at the terminal.
//! Every module returns it; `wharf volume` prints it with its causes.
//! It must never hold a password, nor the contents of a file.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use rustic_core::RusticError;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// What was tried, on which object, and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something with a file.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file; relative to the volume's root where it belongs to one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An object store refused something, or could not be reached.
    #[error("{doing} {object}: {problem}")]
    Object {
        /// What was tried.
        doing: &'static str,
        /// With which object, by its whole address.
        object: String,
        /// What the server said.
        problem: String,
    },
    /// An address that names no repository.
    #[error("repository address {given:?}: {problem}")]
    Address {
        /// As given, without credentials.
        given: String,
        /// Why.
        problem: String,
    },
    /// A password that could not be read. Never the password.
    #[error("read the repository's password from {from}: {problem}")]
    Password {
        /// Where it should be.
        from: String,
        /// Why.
        problem: String,
    },
    /// No key of the repository opens with this password.
    #[error("wrong password for {repository}")]
    WrongPassword {
        /// Its address.
        repository: String,
    },
    /// There is no repository at this address.
    #[error("{repository} is no backup repository: it has no config")]
    NoRepository {
        /// Its address.
        repository: String,
    },
    /// A repository is there already.
    #[error("{repository} is a backup repository already")]
    Exists {
        /// Its address.
        repository: String,
    },
    /// Somebody else works on the repository in a way that excludes us.
    #[error("{repository} is locked by {holder}")]
    Locked {
        /// Its address.
        repository: String,
        /// Who, since when.
        holder: String,
    },
    /// rustic_core failed at something.
    #[error("{doing} {repository}: {problem}")]
    Repository {
        /// What was tried.
        doing: &'static str,
        /// Its address.
        repository: String,
        /// What it said, with causes.
        problem: String,
    },
    /// Something in the repository is not what it has to be.
    #[error("{object} is damaged: {problem}")]
    Damaged {
        /// Which pack, blob, tree or file.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No snapshot fits.
    #[error("{repository} has no snapshot {wanted}")]
    NoSnapshot {
        /// Its address.
        repository: String,
        /// What was looked for.
        wanted: String,
    },
    /// More than one snapshot begins with this.
    #[error("{wanted:?} begins the names of {count} snapshots")]
    Ambiguous {
        /// What was looked for.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// The directory to restore into is not fit for it.
    #[error("restore into {}: {problem}", path.display())]
    Target {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A file's metadata is not what it was, right after it was set.
    #[error("{} was restored with {what} {found} instead of {expected}", path.display())]
    Differs {
        /// Relative to the volume's root.
        path: PathBuf,
        /// Which part of the metadata.
        what: String,
        /// As in the snapshot.
        expected: String,
        /// As in the file system.
        found: String,
    },
    /// A name in a snapshot that no file can have.
    #[error("the snapshot has an entry named {name:?} in {}", directory.display())]
    BadName {
        /// The directory.
        directory: PathBuf,
        /// The name.
        name: String,
    },
    /// Files that could not be read are missing in the snapshot that was just made.
    #[error(
        "{count} files could not be read, and are missing in snapshot {snapshot}; the first is {first}"
    )]
    Incomplete {
        /// Its identifier.
        snapshot: String,
        /// How many.
        count: usize,
        /// The first, with the reason.
        first: String,
    },
    /// A retention policy that says nothing, or can't be understood.
    #[error("retention: {problem}")]
    Policy {
        /// Why.
        problem: String,
    },
}

impl Error {
    /// For `map_err` after a call to the kernel.
    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::File {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// For `map_err` after a call of rustic_core.
    pub(crate) fn rustic<'a>(
        doing: &'static str,
        repository: &'a str,
    ) -> impl FnOnce(Box<RusticError>) -> Error + use<'a> {
        move |cause| match cause.is_incorrect_password() {
            true => Error::WrongPassword {
                repository: repository.to_owned(),
            },
            false => Error::Repository {
                doing,
                repository: repository.to_owned(),
                problem: told(&cause),
            },
        }
    }

    /// The error with all its causes, on one line.
    pub fn chain(&self) -> String {
        let mut told = self.to_string();
        let mut cause = self.source();
        while let Some(next) = cause {
            told = format!("{told}: {next}");
            cause = next.source();
        }
        told
    }
}

/// What rustic_core says, on one line. Where the cause is an error of ours (a store's), that alone: it names the object.
fn told(error: &RusticError) -> String {
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(ours) = next.downcast_ref::<Error>() {
            return ours.chain();
        }
        cause = next.source();
    }
    let log = error.display_log();
    let log = log.strip_prefix("Error: ").unwrap_or(&log);
    // "guidance (kind: related to K): caused by: cause"; the kind says nothing to a person.
    let Some((guidance, rest)) = log.split_once(" (kind: related to ") else {
        return log.replace('\n', " ");
    };
    let cause = rest
        .split_once("caused by: ")
        .map(|(_, cause)| format!(": {cause}"));
    format!("{guidance}{}", cause.unwrap_or_default()).replace('\n', " ")
}
