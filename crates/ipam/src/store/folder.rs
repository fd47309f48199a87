//! The lease directory of one network as a set of small files.
//! Used by the store, under its lock.
//! Must never leave a lease that is not whole, and never follow a name out of the directory.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

/// Mode of lease files (the reference's backend/disk/backend.go).
const LEASE_MODE: Mode = Mode::from_bits_truncate(0o600);

/// Longest lease that is read: container ids and interface names are far shorter, and a file that
/// somebody else put here may be anything.
const LEASE_MAX: usize = 512;

/// An open lease directory.
#[derive(Debug)]
pub(super) struct Folder {
    fd: File,
    path: PathBuf,
}

/// What tells one state of the directory from another, and one directory from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Device and inode.
    pub(super) place: (u64, u64),
    /// Time of the last change, seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
}

/// A lease that is written but has no name yet.
#[derive(Debug)]
pub(super) enum Staged {
    /// A whole file without a name; vanishes with us.
    Nameless(File),
    /// The file system has no nameless files: the content goes into the file when it is named.
    Content(Vec<u8>),
}

impl Folder {
    /// Opens the directory; `None` when there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<Folder>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match openat(AT_FDCWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Folder {
                fd: File::from(fd),
                path: path.to_owned(),
            })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the directory, which is made with its parents when it is not there.
    pub(super) fn create(path: &Path) -> io::Result<Folder> {
        if let Some(folder) = Folder::open(path)? {
            return Ok(folder);
        }
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        Folder::open(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where the directory is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file to lock, which is made when it is not there. Where nothing can be written it is
    /// opened to read: what only reads goes on, and what writes says what it could not write.
    pub(super) fn lock_file(&self) -> io::Result<File> {
        let open = |flags| openat(&self.fd, "lock", flags | OFlag::O_CLOEXEC, LEASE_MODE);
        let opened = match open(OFlag::O_RDWR | OFlag::O_CREAT) {
            Err(Errno::EROFS | Errno::EACCES) => open(OFlag::O_RDONLY),
            other => other,
        };
        Ok(File::from(opened?))
    }

    /// Device, inode and time of the last change.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        let meta = self.fd.metadata()?;
        Ok(Identity {
            place: (meta.dev(), meta.ino()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    /// Sets the time of the last change.
    pub(super) fn set_mtime(&self, (seconds, nanos): (i64, i64)) -> io::Result<()> {
        let since = Duration::new(
            seconds.max(0).unsigned_abs(),
            u32::try_from(nanos).unwrap_or(0),
        );
        self.fd.set_modified(UNIX_EPOCH + since)
    }

    /// Calls `visit` with each name in the directory that is text, without keeping any.
    pub(super) fn for_each_name(
        &self,
        mut visit: impl FnMut(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        for entry in dir.iter() {
            if let Ok(name) = entry?.file_name().to_str() {
                visit(name)?;
            }
        }
        Ok(())
    }

    /// The content of a file; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        // O_NONBLOCK: a FIFO that somebody put here must not hold us.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mut file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut content = [0; LEASE_MAX];
        let length = file.read(&mut content)?;
        Ok(Some(content[..length].to_vec()))
    }

    /// Time of the last change of a file; `None` when there is none or it is not a plain file.
    pub(super) fn written(&self, name: &str) -> io::Result<Option<SystemTime>> {
        let stat = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok(None);
        }
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let since = Duration::new(stat.st_mtime.max(0).unsigned_abs(), nanos);
        Ok(Some(UNIX_EPOCH + since))
    }

    /// Sets the time of the last change of a file to now.
    pub(super) fn touch(&self, name: &str) -> io::Result<()> {
        let now = TimeSpec::UTIME_NOW;
        Ok(utimensat(
            &self.fd,
            name,
            &now,
            &now,
            UtimensatFlags::NoFollowSymlink,
        )?)
    }

    /// Writes a file over in place, which leaves the directory's time of change alone. Never cut to
    /// nothing first: ext4 flushes such a file when it is closed (ext4(5), auto_da_alloc).
    pub(super) fn overwrite(&self, name: &str, content: &str) -> io::Result<()> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, LEASE_MODE)?);
        let length = content.len() as u64;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
        }
        file.write_all_at(content.as_bytes(), 0)
    }

    /// Removes a file; an absent one is success.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Writes a lease without giving it a name yet. A full disk shows here, before anything is visible.
    pub(super) fn stage(&self, content: &str) -> io::Result<Staged> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        match openat(&self.fd, ".", flags, LEASE_MODE) {
            Ok(fd) => {
                let mut file = File::from(fd);
                file.write_all(content.as_bytes())?;
                Ok(Staged::Nameless(file))
            }
            // open(2), O_TMPFILE: EOPNOTSUPP from a file system without it, EISDIR from an old kernel.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT) => {
                Ok(Staged::Content(content.as_bytes().to_vec()))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the lease its name, in one step where the file system can; `AlreadyExists` when taken.
    pub(super) fn publish(&self, staged: &Staged, name: &str) -> io::Result<()> {
        match staged {
            Staged::Nameless(file) => self.link(file, name),
            Staged::Content(content) => self.write_new(name, content),
        }
    }

    fn link(&self, file: &File, name: &str) -> io::Result<()> {
        match linkat(file, "", &self.fd, name, AtFlags::AT_EMPTY_PATH) {
            // Without CAP_DAC_READ_SEARCH.
            Err(Errno::ENOENT) => {}
            done => return Ok(done?),
        }
        // open(2), O_TMPFILE: the way through /proc needs no capability, and takes a fifth of a lease's time.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = AtFlags::AT_SYMLINK_FOLLOW;
        match linkat(AT_FDCWD, source.as_str(), &self.fd, name, flags) {
            Err(Errno::ENOENT | Errno::EPERM) => self.copy(file, name),
            done => Ok(done?),
        }
    }

    /// No /proc and no capability: the content once more, into a file with a name.
    fn copy(&self, file: &File, name: &str) -> io::Result<()> {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let mut content = vec![0; length];
        file.read_exact_at(&mut content, 0)?;
        self.write_new(name, &content)
    }

    /// A crash between the two steps leaves an empty file, which the next walk of the directory removes.
    fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.fd, name, flags, LEASE_MODE)?);
        file.write_all(content).inspect_err(|_| {
            // The write's error is the one to report; an empty lease is reclaimed in any case.
            let _ = self.remove(name);
        })
    }
}
