//! The IMAGE argument: what it names, as a root filesystem and what comes with it.
//! `wish` asks it once for each new container.
//! It must never write: a folder is used as it is.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A root filesystem and its defaults.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// Absolute.
    pub(crate) rootfs: PathBuf,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    /// The command, or what the entrypoint gets as arguments, if the user gives none.
    pub(crate) command: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) workdir: Option<PathBuf>,
    /// Folders of which the data is to outlive the root filesystem.
    pub(crate) volumes: Vec<PathBuf>,
    /// As `80/tcp`.
    pub(crate) exposed: Vec<String>,
    pub(crate) stop_signal: Option<String>,
}

/// Finds what `argument` names: a folder with a root filesystem.
pub(crate) fn find(argument: &str) -> Result<Image> {
    Ok(Image {
        rootfs: folder(Path::new(argument))?,
        ..Image::default()
    })
}

fn folder(given: &Path) -> Result<PathBuf> {
    let path = given
        .canonicalize()
        .map_err(Error::file("find the root filesystem", given))?;
    let problem = match path.parent() {
        _ if !path.is_dir() => Some("is not a folder"),
        None => Some("is the host's own"),
        Some(_) => None,
    };
    match problem {
        Some(problem) => Err(Error::BadRootfs { path, problem }),
        None => Ok(path),
    }
}
