//! What can go wrong with images, in words for the person at the terminal.
//! Every module returns it; `wharf` prints it with its causes.
//! It must never quote the contents of an image, only names in it.

use std::io;
use std::path::PathBuf;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// What was tried, on which object, and the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something with a file of ours, or of the caller's.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused something with a file of a layer.
    #[error("{doing} {entry:?} of the layer")]
    InLayer {
        /// What was tried.
        doing: &'static str,
        /// The name in the layer.
        entry: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An entry of a tar archive that is refused.
    #[error("entry {entry:?}: {problem}")]
    Entry {
        /// Its name in the archive.
        entry: String,
        /// Why.
        problem: String,
    },
    /// The archive or the layer as a whole is not what it has to be.
    #[error("{what}: {problem}")]
    Malformed {
        /// The object: a file, or a name in the archive.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// JSON that does not parse.
    #[error("{what} is not what it should be")]
    Json {
        /// The document.
        what: String,
        /// Where it fails.
        source: serde_json::Error,
    },
    /// Contents that are not what their digest says.
    #[error("{what} should have the digest {expected}, and has {found}")]
    Digest {
        /// The object.
        what: String,
        /// As announced.
        expected: String,
        /// As read.
        found: String,
    },
    /// A stated bound is reached (docs/images.md, "Bounds").
    #[error("{what} is more than is taken: {bound}")]
    Bound {
        /// What is too much.
        what: &'static str,
        /// The bound.
        bound: String,
    },
    /// A name that no image can have.
    #[error("image name {given:?}: {rule}")]
    BadName {
        /// As given.
        given: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// No image is called so.
    #[error("there is no image {0:?}")]
    NoSuchImage(String),
    /// Several images are called so.
    #[error("{given:?} may be {}", candidates.join(", "))]
    Ambiguous {
        /// As given.
        given: String,
        /// The names that match.
        candidates: Vec<String>,
    },
    /// An image that a container uses.
    #[error("image {image} is used by container {}", containers.join(", "))]
    InUse {
        /// The image's name.
        image: String,
        /// The containers' ids.
        containers: Vec<String>,
    },
    /// No overlay can be mounted there, whatever the image.
    #[error("mount the image's layers at {}: {why}", target.display())]
    NoOverlay {
        /// Where.
        target: PathBuf,
        /// What is missing.
        why: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A container that was not made from an image.
    #[error("container {0} was not made from an image")]
    NoRoot(String),
}

impl Error {
    /// For `map_err`: a file and what was tried with it.
    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |source| Error::File {
            doing,
            path,
            source: source.into(),
        }
    }

    /// For `map_err`: a file of a layer and what was tried with it.
    pub(crate) fn in_layer<E: Into<io::Error>>(
        doing: &'static str,
        entry: &[u8],
    ) -> impl FnOnce(E) -> Error {
        let entry = shown(entry);
        move |source| Error::InLayer {
            doing,
            entry,
            source: source.into(),
        }
    }

    pub(crate) fn entry(entry: &[u8], problem: impl Into<String>) -> Error {
        Error::Entry {
            entry: shown(entry),
            problem: problem.into(),
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Malformed {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

/// A name from an archive as it may be shown: text, and not endless.
fn shown(name: &[u8]) -> String {
    const ROOM: usize = 200;
    String::from_utf8_lossy(&name[..name.len().min(ROOM)]).into_owned()
}
