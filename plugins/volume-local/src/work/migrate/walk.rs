//! Walks a tree in the one order that there is, and hands out its frames.
//! `send` does so on the one side, and `receive` on the other to check what it has.
//! It must never pass over what it cannot take along: that would be lost with the volume.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Advice, AtFlags, FileType, Mode, SeekFrom, Stat, fadvise, openat, readlinkat, seek, statat,
};
use rustix::io::Errno;

use super::LABEL;
use super::frame::{Frame, Meta, PIECE};
use crate::error::{Error, Result};
use crate::work::tree::{CONTENT, FOLDER, ITSELF, below, entries, refused, xattrs};

/// Who gets the frames; what it returns as an error ends the walk.
pub(super) type Emit<'a> = &'a mut dyn FnMut(&Frame<'_>) -> Result<()>;

/// Hands out all frames of the tree below `top`. With `from_disk`, what is in memory of its files is not believed.
///
/// # Errors
/// The first thing that cannot be read, or that is another file system's, by its path.
pub(super) fn walk(top: &OwnedFd, from_disk: bool, emit: Emit<'_>) -> Result<()> {
    let about = rustix::fs::fstat(top).map_err(refused("look at", Path::new("/")))?;
    let mut walk = Walk {
        device: about.st_dev,
        linked: HashMap::new(),
        from_disk,
        emit,
    };
    walk.folder(top.as_fd(), Path::new(""))?;
    let meta = meta(top, &about, Path::new("/"))?;
    (walk.emit)(&Frame::Leave(meta))
}

struct Walk<'a> {
    device: u64,
    /// Where the first name of a file with several is, by inode.
    linked: HashMap<u64, PathBuf>,
    from_disk: bool,
    emit: Emit<'a>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in entries(folder, path)? {
            let path = below(path, &name);
            let about = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW);
            let about = about.map_err(refused("look at", &path))?;
            self.entry(folder, &name, &about, &path)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        about: &Stat,
        path: &Path,
    ) -> Result<()> {
        let kind = FileType::from_raw_mode(about.st_mode);
        if kind == FileType::Directory {
            return self.inner(folder, name, about, path);
        }
        let bytes = name.to_bytes();
        if about.st_nlink > 1 {
            if let Some(first) = self.linked.get(&about.st_ino) {
                return (self.emit)(&Frame::Link(bytes, first.as_os_str().as_bytes()));
            }
            self.linked.insert(about.st_ino, path.to_owned());
        }
        let itself = openat(folder, name, ITSELF, Mode::empty()).map_err(refused("open", path))?;
        let meta = meta(&itself, about, path)?;
        match kind {
            FileType::RegularFile => self.file(folder, name, meta, path),
            FileType::Symlink => {
                let target =
                    readlinkat(folder, name, Vec::new()).map_err(refused("read the link", path))?;
                (self.emit)(&Frame::Symlink(bytes, target.to_bytes(), meta))
            }
            _ => {
                let (major, minor) = match kind {
                    FileType::CharacterDevice | FileType::BlockDevice => (
                        rustix::fs::major(about.st_rdev),
                        rustix::fs::minor(about.st_rdev),
                    ),
                    _ => (0, 0),
                };
                (self.emit)(&Frame::Special(bytes, (major, minor), meta))
            }
        }
    }

    fn inner(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        about: &Stat,
        path: &Path,
    ) -> Result<()> {
        if about.st_dev != self.device {
            return Err(Error::Work(format!(
                "{} is a mount or a subvolume of its own, which is not sent with the volume: unmount or remove it",
                path.display()
            )));
        }
        let inner = openat(folder, name, FOLDER, Mode::empty()).map_err(refused("open", path))?;
        (self.emit)(&Frame::Enter(name.to_bytes()))?;
        self.folder(inner.as_fd(), path)?;
        let meta = meta(&inner, about, path)?;
        (self.emit)(&Frame::Leave(meta))
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &CStr, meta: Meta, path: &Path) -> Result<()> {
        let file = openat(folder, name, CONTENT, Mode::empty()).map_err(refused("open", path))?;
        if self.from_disk {
            // Refused by a file system in memory: there is no disk to ask.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
        (self.emit)(&Frame::File(name.to_bytes()))?;
        let length = self.content(&File::from(file), path)?;
        (self.emit)(&Frame::Close(length, meta))
    }

    /// All pieces that are not zeroes alone; the file's length.
    fn content(&mut self, file: &File, path: &Path) -> Result<u64> {
        let length = file.metadata().map_err(Error::file("look at", path))?.len();
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while let Some(begin) = next_data(file, at, length).map_err(refused("read", path))? {
            let begin = begin - begin % PIECE as u64;
            let read = read_full(file, &mut piece, begin).map_err(Error::file("read", path))?;
            let data = piece.get(..read).unwrap_or_default();
            if data.iter().any(|byte| *byte != 0) {
                (self.emit)(&Frame::Data(begin, data))?;
            }
            at = begin + PIECE as u64;
        }
        Ok(length)
    }
}

/// Where there is data next, from `at` on.
fn next_data(file: &File, at: u64, length: u64) -> std::result::Result<Option<u64>, Errno> {
    if at >= length {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(at)) {
        Ok(begin) => Ok(Some(begin).filter(|begin| *begin < length)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => Ok(Some(at)),
        Err(errno) => Err(errno),
    }
}

fn read_full(file: &File, piece: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut length = 0;
    while length < piece.len() {
        match file.read_at(&mut piece[length..], at + length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn meta(itself: &OwnedFd, about: &Stat, path: &Path) -> Result<Meta> {
    let mut found = xattrs(itself, path)?;
    let label = found.iter().position(|(name, _)| name.as_c_str() == LABEL);
    let label = label.map(|at| found.swap_remove(at).1);
    found.sort();
    Ok(Meta {
        mode: about.st_mode,
        uid: about.st_uid,
        gid: about.st_gid,
        modified: (
            about.st_mtime,
            u32::try_from(about.st_mtime_nsec).unwrap_or(0),
        ),
        xattrs: found,
        label,
    })
}
