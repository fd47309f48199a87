//! A layer's folder, reached by descriptors only: openat2(2) resolves every name as if the folder were the root.
//! The unpacker and the filling of volumes make files by it, `replay` reads them.
//! It must never open a name without `RESOLVE_IN_ROOT`, nor follow a link in a name's last part.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::{OPAQUE_XATTR, attributes};
use crate::error::{Error, Result};
use crate::path::LayerPath;
use crate::tar::Time;

/// How often openat2(2) is asked again when it can't tell that `..` stayed inside (EAGAIN).
const ATTEMPTS: usize = 128;

/// A folder that holds a layer.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// The folder that was used last: most entries of an archive are in the same one as the entry before.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// The layers below, the topmost first.
    below: Vec<PathBuf>,
    implied: Vec<Implied>,
}

/// A folder that was made because entries are below it, though it has no entry of its own.
#[derive(Debug)]
pub(super) struct Implied {
    pub(super) path: Vec<u8>,
    /// The times that it has in the layers below.
    pub(super) times: Option<(Time, Time)>,
}

/// What is where a file is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    Nothing,
    Directory,
    /// Hides a file of lower layers: a character device 0:0.
    Whiteout,
    /// A regular file.
    File,
    Other,
}

impl Tree {
    pub(crate) fn open(path: &Path) -> Result<Tree> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty());
        Ok(Tree::of(root.map_err(Error::file("open", path))?))
    }

    pub(crate) fn of(root: OwnedFd) -> Tree {
        Tree {
            root,
            last: None,
            below: Vec::new(),
            implied: Vec::new(),
        }
    }

    /// With the layers that it will lie on, the topmost first: what it does not say of a folder, they do.
    pub(crate) fn above(mut self, below: Vec<PathBuf>) -> Tree {
        self.below = below;
        self
    }

    /// The folders that were made without an entry since the last call.
    pub(super) fn take_implied(&mut self) -> Vec<Implied> {
        std::mem::take(&mut self.implied)
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens what `path` leads to.
    pub(crate) fn open_at(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let name = match path {
            b"" => Path::new("."),
            _ => Path::new(OsStr::from_bytes(path)),
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut answer = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            answer = rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve);
            if answer.as_ref().err() != Some(&Errno::AGAIN) {
                break;
            }
        }
        Ok(answer?)
    }

    /// The folder with this path, made with its parents if it is missing.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match &self.last {
            Some((known, folder)) if known == path => Ok(Rc::clone(folder)),
            _ => {
                let folder = Rc::new(self.open_folder(path)?);
                self.last = Some((path.to_vec(), Rc::clone(&folder)));
                Ok(folder)
            }
        }
    }

    fn open_folder(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        match self.open_at(path, flags) {
            Ok(found) => return Ok(found),
            Err(cause) if missing(&cause) => {}
            Err(cause) => return Err(Error::in_layer("open the folder", path)(cause)),
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = ends.map(|(at, _)| at).chain([path.len()]).collect();
        for end in ends {
            self.make_missing(&path[..end])?;
        }
        let found = self.open_at(path, flags);
        found.map_err(Error::in_layer("open the folder", path))
    }

    /// Makes one folder that entries are below but that has no entry of its own.
    fn make_missing(&mut self, path: &[u8]) -> Result<()> {
        if self.open_at(path, OFlags::DIRECTORY | OFlags::PATH).is_ok() {
            return Ok(());
        }
        let parsed = LayerPath::parse(path)?;
        let Some((parent, name)) = parsed.split() else {
            return Ok(());
        };
        let parent = self.open_at(parent, OFlags::DIRECTORY | OFlags::PATH);
        let parent = parent.map_err(Error::in_layer("open the folder of", path))?;
        let hides = present(parent.as_fd(), name) == Ok(Present::Whiteout);
        if hides {
            let removed = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
            removed.map_err(Error::in_layer("remove", path))?;
        }
        let made = rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755));
        made.map_err(|cause| match cause {
            Errno::EXIST => Error::entry(path, "has files below it, and is no folder"),
            _ => Error::in_layer("make the folder", path)(cause),
        })?;
        if hides {
            self.mark_opaque(path)?;
        }
        let times = match hides {
            true => None,
            false => self.take_after_below(path)?,
        };
        let path = path.to_vec();
        self.implied.push(Implied { path, times });
        Ok(())
    }

    /// Gives a folder what the layers below say of it: over them it must not look otherwise. Returns its times.
    fn take_after_below(&self, path: &[u8]) -> Result<Option<(Time, Time)>> {
        for lower in &self.below {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY;
            let found = match Tree::open(lower)?.open_at(path, flags) {
                Ok(found) => found,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                // A whiteout, or a file: the folder begins anew.
                Err(_) => return Ok(None),
            };
            let made = self.open_at(path, flags);
            let made = made.map_err(Error::in_layer("open the folder", path))?;
            let copied = attributes::copy(found.as_fd(), made.as_fd());
            return copied
                .map(Some)
                .map_err(Error::in_layer("set the attributes of", path));
        }
        Ok(None)
    }

    /// Has the folder hide everything that lower layers have in it.
    pub(super) fn mark_opaque(&self, path: &[u8]) -> Result<()> {
        let failed = Error::in_layer("mark as opaque", path);
        let folder = self.open_at(path, OFlags::DIRECTORY | OFlags::RDONLY);
        let folder = folder.map_err(Error::in_layer("open the folder", path))?;
        rustix::fs::fsetxattr(folder, OPAQUE_XATTR, b"y", XattrFlags::empty()).map_err(failed)
    }

    /// Forgets the folder that was used last: something was removed, and it may have been that.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// What `name` is in `folder`.
pub(super) fn present(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Present> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Present::Nothing),
        other => other?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Present::Directory,
        FileType::RegularFile => Present::File,
        FileType::CharacterDevice if stat.st_rdev == 0 => Present::Whiteout,
        _ => Present::Other,
    })
}

/// A path for the calls that take no descriptor of a symbolic link or a device: the folder's descriptor holds what is
/// before the last part, and the last part is not followed by them.
pub(super) fn by_descriptor(folder: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    use std::os::fd::AsRawFd;
    let folder = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Path::new(&folder).join(OsStr::from_bytes(name))
}

/// Whether a folder is not there, or a file or whiteout is where it would be.
fn missing(cause: &io::Error) -> bool {
    matches!(
        cause.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::NOTDIR)
    )
}
