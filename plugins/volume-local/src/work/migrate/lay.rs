//! Lays a tree frame by frame, and takes it back to where it was noted to be.
//! `receive` calls it with what the other side sends, which it believes nothing of.
//! It must never reach beyond the folder that it fills, nor overwrite: whatever a frame makes is new.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, linkat, mkdirat, mknodat, openat,
    removexattr, symlinkat, unlinkat,
};
use rustix::io::Errno;
use wharfline_kernel::fs::beneath;

use super::LABEL;
use super::frame::{Frame, Meta, PIECE, is_name};
use crate::arrivals::Place;
use crate::error::{Error, Result};
use crate::work::tree::{
    FOLDER, ITSELF, NEW, below, by_descriptor, entries, finish, refused, set_xattr, xattrs,
};

/// A tree that grows.
pub(super) struct Tree<'a> {
    top: &'a OwnedFd,
    /// The folders that have begun, from the top's on.
    folders: Vec<OwnedFd>,
    path: PathBuf,
    /// Name of the last entry of the innermost one.
    last: Vec<u8>,
    open: Option<(File, u64)>,
    /// Whether the top has ended.
    whole: bool,
}

impl<'a> Tree<'a> {
    /// The tree below `top` as it was at `place`: whatever came later is taken away.
    ///
    /// # Errors
    /// What cannot be removed; what is not there any more.
    pub(super) fn at(top: &'a OwnedFd, place: &Place) -> Result<Self> {
        let mut tree = Self {
            top,
            folders: Vec::new(),
            path: PathBuf::new(),
            last: Vec::new(),
            open: None,
            whole: place.whole,
        };
        if place.whole {
            return Ok(tree);
        }
        strip(top, Path::new("/"))?;
        for name in &place.folders {
            remove_after(tree.innermost(), name, &tree.path)?;
            tree.enter(name)?;
            strip(tree.innermost(), &tree.path)?;
        }
        remove_after(tree.innermost(), &place.last, &tree.path)?;
        tree.last.clone_from(&place.last);
        if let Some(next) = place.open {
            let path = tree.path_of(&place.last);
            let name = OsStr::from_bytes(&place.last);
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(tree.innermost(), name, flags, Mode::empty());
            let file = file.map_err(refused("open", &path))?;
            strip(&file, &path)?;
            let file = File::from(file);
            file.set_len(next).map_err(Error::file("cut", &path))?;
            tree.open = Some((file, next));
        }
        Ok(tree)
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        let names = self.path.iter().map(|name| name.as_bytes().to_owned());
        Place {
            folders: names.collect(),
            last: self.last.clone(),
            open: self.open.as_ref().map(|(_, next)| *next),
            whole: self.whole,
        }
    }

    /// Lays one frame.
    ///
    /// # Errors
    /// The kernel's, by path; a frame that does not belong here.
    pub(super) fn lay(&mut self, frame: &Frame<'_>) -> Result<()> {
        let within_file = matches!(frame, Frame::Data(..) | Frame::Close(..));
        if self.whole || within_file != self.open.is_some() {
            return Err(strange());
        }
        match frame {
            Frame::Enter(name) => {
                let path = self.begin(name)?;
                mkdirat(self.innermost(), OsStr::from_bytes(name), Mode::RWXU)
                    .map_err(refused("make", &path))?;
                self.enter(name)
            }
            Frame::Leave(meta) => self.leave(meta),
            Frame::File(name) => {
                let path = self.begin(name)?;
                let mode = Mode::RUSR | Mode::WUSR;
                let file = openat(self.innermost(), OsStr::from_bytes(name), NEW, mode);
                self.open = Some((File::from(file.map_err(refused("make", &path))?), 0));
                Ok(())
            }
            Frame::Data(at, bytes) => self.write(*at, bytes),
            Frame::Close(length, meta) => self.close(*length, meta),
            Frame::Symlink(name, target, meta) => {
                let path = self.begin(name)?;
                let name = OsStr::from_bytes(name);
                symlinkat(OsStr::from_bytes(target), self.innermost(), name)
                    .map_err(refused("make", &path))?;
                self.dress(name, meta, &path)
            }
            Frame::Link(name, first) => self.link(name, first),
            Frame::Special(name, device, meta) => self.special(name, *device, meta),
        }
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.folders.last().unwrap_or(self.top).as_fd()
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// An entry begins: they come sorted, so none is met twice. Its path.
    fn begin(&mut self, name: &[u8]) -> Result<PathBuf> {
        if !is_name(name) || name <= self.last.as_slice() {
            return Err(strange());
        }
        self.last = name.to_owned();
        Ok(self.path_of(name))
    }

    fn enter(&mut self, name: &[u8]) -> Result<()> {
        let path = self.path_of(name);
        let name = OsStr::from_bytes(name);
        let inner = openat(self.innermost(), name, FOLDER, Mode::empty());
        self.folders.push(inner.map_err(refused("open", &path))?);
        self.path = path;
        self.last.clear();
        Ok(())
    }

    fn leave(&mut self, meta: &Meta) -> Result<()> {
        match self.folders.pop() {
            Some(folder) => {
                dress(folder.as_fd(), meta, FileType::Directory, &self.path)?;
                let name = self.path.file_name().unwrap_or_default();
                self.last = name.as_bytes().to_owned();
                self.path.pop();
            }
            None => {
                dress(self.top.as_fd(), meta, FileType::Directory, Path::new("/"))?;
                self.whole = true;
            }
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let path = self.path_of(&self.last);
        let Some((file, next)) = &mut self.open else {
            return Err(strange());
        };
        if at < *next || bytes.len() > PIECE || at.checked_add(PIECE as u64).is_none() {
            return Err(strange());
        }
        file.write_all_at(bytes, at)
            .map_err(Error::file("write", &path))?;
        *next = at + bytes.len() as u64;
        Ok(())
    }

    fn close(&mut self, length: u64, meta: &Meta) -> Result<()> {
        let path = self.path_of(&self.last);
        let Some((file, next)) = self.open.take() else {
            return Err(strange());
        };
        if length < next {
            return Err(strange());
        }
        file.set_len(length)
            .map_err(Error::file("set the length of", &path))?;
        dress(file.as_fd(), meta, FileType::RegularFile, &path)
    }

    fn link(&mut self, name: &[u8], first: &[u8]) -> Result<()> {
        let path = self.begin(name)?;
        let first = Path::new(OsStr::from_bytes(first));
        let parent = first.parent().filter(|parent| *parent != Path::new(""));
        let parent = beneath::folder_in(self.top, parent.unwrap_or(Path::new(".")))?;
        let first = first.file_name().ok_or_else(strange)?;
        let name = OsStr::from_bytes(name);
        linkat(parent, first, self.innermost(), name, AtFlags::empty())
            .map_err(refused("link", &path))
    }

    fn special(&mut self, name: &[u8], (major, minor): (u32, u32), meta: &Meta) -> Result<()> {
        let path = self.begin(name)?;
        let kind = FileType::from_raw_mode(meta.mode);
        if !matches!(
            kind,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket
        ) {
            return Err(strange());
        }
        let name = OsStr::from_bytes(name);
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(self.innermost(), name, kind, mode, device).map_err(refused("make", &path))?;
        self.dress(name, meta, &path)
    }

    fn dress(&self, name: &OsStr, meta: &Meta, path: &Path) -> Result<()> {
        let made = openat(self.innermost(), name, ITSELF, Mode::empty());
        let made = made.map_err(refused("open", path))?;
        dress(made.as_fd(), meta, FileType::from_raw_mode(meta.mode), path)
    }
}

fn strange() -> Error {
    Error::Work("what comes from the other side is no volume".to_owned())
}

/// Gives an entry what it has beside its content, and looks whether the file system has kept it.
fn dress(made: BorrowedFd<'_>, meta: &Meta, kind: FileType, path: &Path) -> Result<()> {
    if FileType::from_raw_mode(meta.mode) != kind {
        return Err(strange());
    }
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    chownat(made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .map_err(refused("set the owner of", path))?;
    for (name, value) in &meta.xattrs {
        set_xattr(made, name, value, path)?;
    }
    if let Some(label) = &meta.label {
        set_xattr(made, LABEL, label, path)?;
    }
    let mut about = fstat(made).map_err(refused("look at", path))?;
    let (seconds, nanoseconds) = meta.modified;
    about.st_mode = meta.mode;
    (about.st_mtime, about.st_mtime_nsec) = (seconds, nanoseconds.into());
    (about.st_atime, about.st_atime_nsec) = (seconds, nanoseconds.into());
    finish(made, &about, path)?;
    let now = fstat(made).map_err(refused("look at", path))?;
    let kept = |what, kept| match kept {
        true => Ok(()),
        false => Err(Error::Work(format!(
            "{}: this file system does not keep its {what}: choose another type",
            path.display()
        ))),
    };
    kept(
        "time of change",
        (now.st_mtime, now.st_mtime_nsec) == (about.st_mtime, about.st_mtime_nsec),
    )?;
    kept("owner", (now.st_uid, now.st_gid) == (meta.uid, meta.gid))?;
    kept("mode", now.st_mode == meta.mode)
}

/// Takes the attributes away that a later state may have had.
fn strip(file: impl AsFd, path: &Path) -> Result<()> {
    for (name, _) in xattrs(&file, path)? {
        match removexattr(by_descriptor(&file), name.as_c_str()) {
            // A label that the host insists on.
            Err(Errno::ACCESS | Errno::PERM) if name.as_c_str() == LABEL => {}
            other => other.map_err(refused("remove an attribute of", path))?,
        }
    }
    Ok(())
}

/// Removes the entries of a folder that come after `last`.
fn remove_after(folder: BorrowedFd<'_>, last: &[u8], path: &Path) -> Result<()> {
    for name in entries(folder, path)? {
        if name.to_bytes() > last {
            remove(folder, &name, &below(path, &name))?;
        }
    }
    Ok(())
}

fn remove(folder: BorrowedFd<'_>, name: &std::ffi::CStr, path: &Path) -> Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {
            let inner =
                openat(folder, name, FOLDER, Mode::empty()).map_err(refused("open", path))?;
            remove_after(inner.as_fd(), b"", path)?;
            unlinkat(folder, name, AtFlags::REMOVEDIR).map_err(refused("remove", path))
        }
        other => other.map_err(refused("remove", path)),
    }
}
