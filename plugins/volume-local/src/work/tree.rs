//! Copies and counts trees by descriptors: holes, hard links, owners, modes, times, extended attributes (ACLs among them),
//! devices, sockets and symlinks survive, and no symlink is followed.
//! `child` calls it. It must never leave the tree that it was given, nor the file system that it is on.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, getxattr, linkat, listxattr, mkdirat, mknodat, openat, readlinkat, setxattr,
    statat, symlinkat, utimensat,
};
use wharfline_kernel::fs::share;
use wharfline_spec::docker::volume::Usage;

use super::child::Counter;
use crate::error::{Error, Result};

/// A folder that is read, and never by a symlink.
pub(super) const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// A file itself, whatever it is, without opening it.
pub(super) const ITSELF: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file that is read: never by a symlink, and nothing waits for a FIFO's other end.
pub(super) const CONTENT: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
/// A file that is made, where there is none.
pub(super) const NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Unit of st_blocks (stat(2)).
const BLOCK: u64 = 512;

/// For `map_err`: what was tried, on which path below the tree's top.
pub(super) fn refused(tried: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Error {
    let path = path.to_owned();
    move |errno| Error::file(tried, path)(errno.into())
}

/// The entries of a folder, without itself and the one above.
pub(super) fn entries(folder: impl AsFd, path: &Path) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(refused("list", path))? {
        let entry = entry.map_err(refused("list", path))?;
        let name = entry.file_name();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// `path` and a name in it.
pub(super) fn below(path: &Path, name: &CStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// What the files below `top` take.
pub(crate) fn measure(top: &OwnedFd) -> Result<Usage> {
    let about = rustix::fs::fstat(top).map_err(refused("look at", Path::new("/")))?;
    let mut count = Count {
        device: about.st_dev,
        seen: HashSet::new(),
        bytes: 0,
        inodes: 0,
    };
    count.folder(top.as_fd(), Path::new(""))?;
    Ok(Usage {
        used_bytes: Some(count.bytes),
        used_inodes: Some(count.inodes),
        ..Usage::default()
    })
}

struct Count {
    device: u64,
    /// Files of several names, which count once.
    seen: HashSet<u64>,
    bytes: u64,
    inodes: u64,
}

impl Count {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in entries(folder, path)? {
            // What somebody deletes meanwhile does not count.
            let Ok(about) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
            if !is_folder && about.st_nlink > 1 && !self.seen.insert(about.st_ino) {
                continue;
            }
            self.inodes += 1;
            self.bytes += about.st_blocks.cast_unsigned() * BLOCK;
            if is_folder
                && about.st_dev == self.device
                && let Ok(inner) = openat(folder, &name, FOLDER, Mode::empty())
            {
                self.folder(inner.as_fd(), &below(path, &name))?;
            }
        }
        Ok(())
    }
}

/// Copies what is below `from` into the empty folder `to`, and the folder's own owner, mode, times and attributes.
///
/// # Errors
/// The first thing that cannot be copied, by its path.
pub(crate) fn copy(from: &OwnedFd, to: &OwnedFd, counter: &mut Counter) -> Result<()> {
    let about = rustix::fs::fstat(from).map_err(refused("look at", Path::new("/")))?;
    let mut copier = Copier {
        device: about.st_dev,
        top: to.as_fd(),
        linked: HashMap::new(),
        counter,
    };
    copier.folder(from.as_fd(), to.as_fd(), Path::new(""))?;
    attributes(from, to.as_fd(), &about, Path::new("/"))
}

struct Copier<'a> {
    device: u64,
    top: BorrowedFd<'a>,
    /// Where the first name of a file with several is, by inode.
    linked: HashMap<u64, PathBuf>,
    counter: &'a mut Counter,
}

impl Copier<'_> {
    fn folder(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in entries(from, path)? {
            let path = below(path, &name);
            let about = match statat(from, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // A copy of what lives: somebody deleted it meanwhile.
                Err(rustix::io::Errno::NOENT) => continue,
                other => other.map_err(refused("look at", &path))?,
            };
            self.entry((from, to), &name, &about, &path)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        name: &CStr,
        about: &Stat,
        path: &Path,
    ) -> Result<()> {
        let kind = FileType::from_raw_mode(about.st_mode);
        if kind != FileType::Directory && about.st_nlink > 1 {
            if let Some(first) = self.linked.get(&about.st_ino) {
                return linkat(self.top, first, to, name, AtFlags::empty())
                    .map_err(refused("link", path));
            }
            self.linked.insert(about.st_ino, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU).map_err(refused("make", path))?;
                if about.st_dev == self.device {
                    let inner =
                        openat(from, name, FOLDER, Mode::empty()).map_err(refused("open", path))?;
                    let made =
                        openat(to, name, FOLDER, Mode::empty()).map_err(refused("open", path))?;
                    self.folder(inner.as_fd(), made.as_fd(), path)?;
                }
            }
            FileType::RegularFile => self.file((from, to), name, path)?,
            FileType::Symlink => {
                let target =
                    readlinkat(from, name, Vec::new()).map_err(refused("read the link", path))?;
                symlinkat(&target, to, name).map_err(refused("make", path))?;
            }
            kind => {
                mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, about.st_rdev)
                    .map_err(refused("make", path))?;
            }
        }
        let source = openat(from, name, ITSELF, Mode::empty()).map_err(refused("open", path))?;
        let made = openat(to, name, ITSELF, Mode::empty()).map_err(refused("open", path))?;
        attributes(&source, made.as_fd(), about, path)
    }

    fn file(
        &mut self,
        (from, to): (BorrowedFd<'_>, BorrowedFd<'_>),
        name: &CStr,
        path: &Path,
    ) -> Result<()> {
        let source = openat(from, name, CONTENT, Mode::empty()).map_err(refused("open", path))?;
        let target =
            openat(to, name, NEW, Mode::RUSR | Mode::WUSR).map_err(refused("make", path))?;
        let counter = &mut *self.counter;
        share::copy::<Error>(&File::from(source), &File::from(target), &mut |bytes| {
            counter.add(bytes);
            Ok(())
        })
        .map_err(|e| Error::Work(format!("copy {}: {e}", path.display())))
    }
}

/// The path by which the kernel finds an open file again, whatever it is (proc_pid_fd(5)).
pub(super) fn by_descriptor(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Gives `to` what `from` has beside its content.
fn attributes(from: &OwnedFd, to: BorrowedFd<'_>, about: &Stat, path: &Path) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(about.st_uid), Gid::from_raw(about.st_gid));
    chownat(to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .map_err(refused("set the owner of", path))?;
    for (name, value) in xattrs(from, path)? {
        set_xattr(to, &name, &value, path)?;
    }
    finish(to, about, path)
}

/// Mode and times, which everything else would change again.
pub(super) fn finish(to: BorrowedFd<'_>, about: &Stat, path: &Path) -> Result<()> {
    let place = by_descriptor(to);
    if FileType::from_raw_mode(about.st_mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(about.st_mode & 0o7777);
        chmodat(CWD, &place, mode, AtFlags::empty()).map_err(refused("set the mode of", path))?;
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.cast_signed(),
    };
    let times = Timestamps {
        last_access: time(about.st_atime, about.st_atime_nsec),
        last_modification: time(about.st_mtime, about.st_mtime_nsec),
    };
    utimensat(to, "", &times, AtFlags::EMPTY_PATH)
        .or_else(|_| utimensat(CWD, &place, &times, AtFlags::empty()))
        .map_err(refused("set the times of", path))
}

/// Extended attributes; none where the file system has none.
pub(super) fn xattrs(file: impl AsFd, path: &Path) -> Result<Vec<(CString, Vec<u8>)>> {
    use rustix::io::Errno;
    let place = by_descriptor(file);
    let mut names = vec![0; 64 << 10];
    let length = match listxattr(&place, &mut names) {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => return Ok(Vec::new()),
        other => other.map_err(refused("list the attributes of", path))?,
    };
    let mut found = Vec::new();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let mut value = vec![0; 64 << 10];
        match getxattr(&place, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_owned(), value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(refused("read an attribute of", path)(errno)),
        }
    }
    Ok(found)
}

pub(super) fn set_xattr(
    file: BorrowedFd<'_>,
    name: &CStr,
    value: &[u8],
    path: &Path,
) -> Result<()> {
    let set = setxattr(by_descriptor(file), name, value, XattrFlags::empty());
    set.map_err(refused("set an attribute of", path))
}

#[cfg(test)]
pub(super) mod tests;
