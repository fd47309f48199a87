//! A repository in a directory.
//! `Repository` opens it; the layout is restic's, so that `restic -r DIRECTORY` finds the same.
//! It must never leave half a file under its name: written aside, synced, renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::store::{Kind, Store, is_name};

/// The end of a name that no reader looks at. restic passes over names that are no identifiers.
const ASIDE: &str = "-tmp";
/// Nobody writes one file for so long.
const STALE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Directory {
        Directory {
            root: root.to_owned(),
        }
    }

    fn file(&self, kind: Kind, name: &str) -> PathBuf {
        self.root.join(kind.path(name))
    }

    /// The directories that files of this kind are in.
    fn places(&self, kind: Kind) -> Result<Vec<PathBuf>> {
        let directory = self.root.join(kind.directory());
        match kind {
            Kind::Pack => Ok(entries(&directory)?
                .into_iter()
                .map(|(path, _)| path)
                .filter(|path| path.is_dir())
                .collect()),
            _ => Ok(vec![directory]),
        }
    }

    fn write_aside(&self, aside: &Path, parts: &[Bytes]) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(aside) {
            // Of a dead process with our number.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(aside).map_err(Error::file("remove", aside))?;
                options.open(aside)
            }
            other => other,
        }
        .map_err(Error::file("create", aside))?;
        for part in parts {
            file.write_all(part).map_err(Error::file("write", aside))?;
        }
        file.sync_all().map_err(Error::file("sync", aside))
    }
}

impl Store for Directory {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn create(&self) -> Result<()> {
        let spread = (0..=255u8).map(|first| format!("data/{first:02x}"));
        let kinds = [Kind::Key, Kind::Snapshot, Kind::Index, Kind::Lock]
            .map(|kind| kind.directory().to_owned());
        for directory in kinds.into_iter().chain(spread) {
            let path = self.root.join(directory);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(Error::file("make the directory", &path))?;
        }
        sync(&self.root)
    }

    fn list(&self, kind: Kind) -> Result<Vec<(String, u64)>> {
        if kind == Kind::Config {
            let path = self.file(kind, "");
            return match fs::metadata(&path) {
                Ok(found) => Ok(vec![("0".repeat(64), found.len())]),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(cause) => Err(Error::file("look at", &path)(cause)),
            };
        }
        let mut all = Vec::new();
        for place in self.places(kind)? {
            for (path, size) in entries(&place)? {
                let name = path.file_name().and_then(|name| name.to_str());
                all.extend(
                    name.filter(|name| is_name(name))
                        .map(|name| (name.to_owned(), size)),
                );
            }
        }
        Ok(all)
    }

    fn read(&self, kind: Kind, name: &str) -> Result<Bytes> {
        let path = self.file(kind, name);
        Ok(fs::read(&path).map_err(Error::file("read", &path))?.into())
    }

    fn read_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Bytes> {
        let path = self.file(kind, name);
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let mut part = vec![0; length];
        file.read_exact_at(&mut part, offset)
            .map_err(Error::file("read", &path))?;
        Ok(part.into())
    }

    fn write(&self, kind: Kind, name: &str, parts: &[Bytes]) -> Result<()> {
        let path = self.file(kind, name);
        // The config's name is the same for everybody, and so would be that of a writer who died.
        let aside = path.with_file_name(format!(
            "{}-{}{ASIDE}",
            path.file_name().unwrap_or_default().display(),
            std::process::id()
        ));
        let parent = path.parent().unwrap_or(&self.root);
        // restic makes the 256 directories at once, others when they are needed.
        if kind == Kind::Pack && !parent.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(Error::file("make the directory", parent))?;
        }
        self.write_aside(&aside, parts)
            .and_then(|()| fs::rename(&aside, &path).map_err(Error::file("rename to", &path)))
            .inspect_err(|_| drop(fs::remove_file(&aside)))?;
        sync(parent)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<()> {
        let path = self.file(kind, name);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(cause))
            }
            _ => Ok(()),
        }
    }

    fn sweep(&self) -> Result<()> {
        for kind in [
            Kind::Key,
            Kind::Snapshot,
            Kind::Index,
            Kind::Lock,
            Kind::Pack,
        ] {
            for place in self.places(kind)? {
                for (path, _) in entries(&place)? {
                    let aside = path.to_str().is_some_and(|path| path.ends_with(ASIDE));
                    if aside && is_stale(&path) {
                        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn is_stale(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    let age = modified
        .ok()
        .and_then(|then| SystemTime::now().duration_since(then).ok());
    age.is_some_and(|age| age > STALE)
}

/// Paths and sizes of what is in a directory; nothing if it is missing.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let list = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(Error::file("list", directory))?,
    };
    let mut all = Vec::new();
    for entry in list {
        let entry = entry.map_err(Error::file("list", directory))?;
        match entry.metadata() {
            Ok(found) => all.push((entry.path(), found.len())),
            // Somebody else removed it meanwhile.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(Error::file("look at", &entry.path())(cause)),
        }
    }
    Ok(all)
}

fn sync(directory: &Path) -> Result<()> {
    let open = File::open(directory).and_then(|open| open.sync_all());
    open.map_err(Error::file("sync", directory))
}
