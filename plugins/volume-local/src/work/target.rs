//! The file that an export is written to: a whole archive has the name, or what had it before.
//! `child` calls it for [`super::Job::Export`].
//! It must never follow a link that somebody planted beside the file that was asked for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::record::sync_folder;

/// The end of the name that it has while it is written.
const PART: &str = ".part";

/// An archive on its way. A failed one is removed; a killed one stays under its other name, and the next takes its place.
pub(super) struct Target {
    path: PathBuf,
    aside: Option<PathBuf>,
}

impl Target {
    /// Opens it to be written: only root may read it, who alone may read all that is in a volume. Pipes, devices and what
    /// a link leads to are written as they are.
    ///
    /// # Errors
    /// It can't be made or opened.
    pub(super) fn open(path: PathBuf) -> Result<(Self, File)> {
        let is_file_or_none = fs::symlink_metadata(&path).map_or(true, |about| about.is_file());
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if !is_file_or_none {
            let opened = options.truncate(true).open(&path);
            let file = opened.map_err(Error::file("open", &path))?;
            return Ok((Self { path, aside: None }, file));
        }
        let mut name = path.clone().into_os_string();
        name.push(PART);
        let aside = PathBuf::from(name);
        match fs::remove_file(&aside) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &aside)(cause));
            }
            _ => {}
        }
        let made = options.create_new(true).open(&aside);
        let file = made.map_err(Error::file("make", &aside))?;
        let aside = Some(aside);
        Ok((Self { path, aside }, file))
    }

    /// All of it is written: on the disk, and under its name.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn finish(mut self, file: &File) -> Result<()> {
        match file.sync_all() {
            // A pipe has nothing to sync (fsync(2)).
            Err(cause) if cause.kind() != io::ErrorKind::InvalidInput => {
                return Err(Error::file("sync", &self.path)(cause));
            }
            _ => {}
        }
        let Some(aside) = &self.aside else {
            return Ok(());
        };
        fs::rename(aside, &self.path).map_err(Error::file("rename to", &self.path))?;
        self.aside = None;
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        sync_folder(parent).map_err(Error::file("sync", parent))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            // It is half an archive; if it stays, its name says so.
            let _ = fs::remove_file(aside);
        }
    }
}
