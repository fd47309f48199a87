//! A tree as rustic_core's archiver wants it: every file below a descriptor, directories before what is in them, by name.
//! `backup` hands it over.
//! It must never follow a link, nor go on below another file system's mount point; what it can't read it notes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::NodeType;
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, RusticError, RusticResult};
use rustix::fs::{AtFlags, Dir, FileType, Statx, StatxFlags};
use serde::Serialize;

use crate::beneath;
use crate::error::Error;
use crate::node;
use crate::progress::Progress;
use crate::reader::{Seen, Unread};

/// Something about a file that whoever relies on the backup should know.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "note", rename_all = "lowercase")]
pub enum Note {
    /// It could not be read, and is missing in the snapshot.
    Failed {
        /// Relative to the tree's root; what is no UTF-8 in it is replaced.
        path: String,
        /// What the kernel said.
        problem: String,
    },
    /// It was removed between the listing of its directory and its turn.
    Gone {
        /// As above.
        path: String,
    },
    /// It was written to while it was read: its contents are of no single moment.
    Changed {
        /// As above.
        path: String,
    },
}

impl Note {
    pub(crate) fn of(path: &Path, cause: &io::Error) -> Note {
        let path = path.display().to_string();
        match cause.kind() {
            io::ErrorKind::NotFound => Note::Gone { path },
            _ => Note::Failed {
                path,
                problem: cause.to_string(),
            },
        }
    }
}

/// The notes of a walk. All are counted, the first of them kept.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Noted>);

#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) first: Vec<Note>,
    pub(crate) failed: usize,
    pub(crate) gone: usize,
    pub(crate) changed: usize,
    /// Entries that were handed over.
    pub(crate) entries: u64,
}

/// More than anybody reads.
const KEPT: usize = 100;

impl Notes {
    pub(crate) fn add(&self, note: Note) {
        let mut noted = self.lock();
        match note {
            Note::Failed { .. } => noted.failed += 1,
            Note::Gone { .. } => noted.gone += 1,
            Note::Changed { .. } => noted.changed += 1,
        }
        if noted.first.len() < KEPT {
            noted.first.push(note);
        }
    }

    pub(crate) fn take(&self) -> Noted {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tree that is to be backed up.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) root: Arc<OwnedFd>,
    /// The path of its root in the snapshot: `/` and one name.
    pub(crate) path: PathBuf,
    pub(crate) notes: Arc<Notes>,
    pub(crate) progress: Arc<dyn Progress>,
}

impl ReadSource for Source {
    type Open = Unread;
    type Iter = Walk;

    fn size(&self) -> RusticResult<Option<u64>> {
        let walk = Walk {
            quietly: true,
            ..self.entries()
        };
        let (mut bytes, mut files) = (0, 0);
        for stat in walk.stats() {
            files += 1;
            bytes += stat;
        }
        self.progress.total(bytes, files);
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk {
            root: Arc::clone(&self.root),
            prefix: self.path.clone(),
            mount: None,
            open: Vec::new(),
            started: false,
            quietly: false,
            notes: Arc::clone(&self.notes),
            progress: Arc::clone(&self.progress),
        }
    }
}

/// A directory that the walk is in.
struct Level {
    directory: OwnedFd,
    path: PathBuf,
    /// The names that are left, the next one last.
    names: Vec<OsString>,
}

/// The walk over a tree.
pub(crate) struct Walk {
    root: Arc<OwnedFd>,
    prefix: PathBuf,
    /// The mount that the root is on.
    mount: Option<u64>,
    open: Vec<Level>,
    started: bool,
    /// For the sum of sizes: no attributes, no notes.
    quietly: bool,
    notes: Arc<Notes>,
    progress: Arc<dyn Progress>,
}

/// What the walk comes upon.
struct Found {
    path: PathBuf,
    stat: Statx,
}

impl Walk {
    /// The next file, and for a directory its level.
    fn step(&mut self) -> Option<Result<Found, (PathBuf, io::Error)>> {
        if !self.started {
            self.started = true;
            return Some(self.begin().map_err(|cause| (PathBuf::new(), cause)));
        }
        loop {
            let level = self.open.last_mut()?;
            let Some(name) = level.names.pop() else {
                self.open.pop();
                continue;
            };
            let path = level.path.join(&name);
            let stat = match stat(level.directory.as_fd(), &name) {
                Ok(stat) => stat,
                Err(cause) => return Some(Err((path, cause))),
            };
            return Some(Ok(Found { path, stat }));
        }
    }

    fn begin(&mut self) -> io::Result<Found> {
        let stat = stat(self.root.as_fd(), OsStr::new(""))?;
        self.mount = mount(&stat);
        Ok(Found {
            path: PathBuf::new(),
            stat,
        })
    }

    /// Goes into a directory that was found, unless something else is mounted on it.
    fn enter(&mut self, found: &Found) -> io::Result<()> {
        if mount(&found.stat) != self.mount {
            return Ok(());
        }
        let directory = beneath::directory(self.root.as_fd(), &found.path)?;
        let names = names(&directory)?;
        self.open.push(Level {
            directory,
            path: found.path.clone(),
            names,
        });
        Ok(())
    }

    /// The sizes of all files.
    fn stats(mut self) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || {
            loop {
                let Ok(found) = self.step()? else { continue };
                match FileType::from_raw_mode(found.stat.stx_mode.into()) {
                    FileType::Directory => drop(self.enter(&found)),
                    FileType::RegularFile => return Some(found.stat.stx_size),
                    _ => {}
                }
                return Some(0);
            }
        })
    }

    fn entry(&mut self, found: Found) -> Result<ReadSourceEntry<Unread>, (PathBuf, io::Error)> {
        let Found { path, stat } = found;
        let failed = |cause| (path.clone(), cause);
        let mut node = match (self.open.last(), path.file_name()) {
            (Some(level), Some(name)) => {
                node::read(level.directory.as_fd(), name, &stat).map_err(failed)?
            }
            _ => node::read(self.root.as_fd(), OsStr::new(""), &stat).map_err(failed)?,
        };
        if path.as_os_str().is_empty() {
            // The root's name is the volume's.
            node.name = rustic_core::repofile::Node::new_node(
                self.prefix.file_name().unwrap_or_default(),
                NodeType::Dir,
                Default::default(),
            )
            .name;
        }
        let open = node.is_file().then(|| Unread {
            root: Arc::clone(&self.root),
            path: path.clone(),
            seen: seen(&stat),
            sparse: stat.stx_blocks.saturating_mul(512) < stat.stx_size,
            notes: Arc::clone(&self.notes),
        });
        let whole = match path.as_os_str().is_empty() {
            true => self.prefix.clone(),
            false => self.prefix.join(&path),
        };
        if node.is_dir() {
            self.enter(&Found {
                path: path.clone(),
                stat,
            })
            .map_err(failed)?;
        }
        Ok(ReadSourceEntry {
            path: whole,
            node,
            open,
        })
    }
}

impl Iterator for Walk {
    type Item = RusticResult<ReadSourceEntry<Unread>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.step()?.and_then(|found| self.entry(found));
        Some(match entry {
            Ok(entry) => {
                if !self.quietly {
                    self.notes.lock().entries += 1;
                    self.progress.advance(0, 1);
                }
                Ok(entry)
            }
            Err((path, cause)) => {
                self.notes.add(Note::of(&path, &cause));
                let told = Error::file("read", &path)(cause);
                Err(RusticError::with_source(
                    ErrorKind::InputOutput,
                    "walk",
                    told,
                ))
            }
        })
    }
}

/// All names in a directory, in the order that trees in a repository have, the first one last.
fn names(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

fn stat(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    Ok(rustix::fs::statx(
        directory,
        Path::new(name),
        flags,
        wanted,
    )?)
}

/// The mount that a file is on, from Linux 5.8 on.
fn mount(stat: &Statx) -> Option<u64> {
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

fn seen(stat: &Statx) -> Seen {
    Seen {
        size: stat.stx_size,
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
    }
}
