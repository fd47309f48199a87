//! The contents of a file for the backup: holes are zeros that nobody reads, and a change meanwhile is noted.
//! rustic_core's chunker reads it, a file per thread.
//! It must never open what is no regular file: opening a device does something.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::{ErrorKind, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::beneath;
use crate::error::Error;
use crate::source::{Note, Notes};

/// A file that is to be read, as the walk found it.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) root: Arc<OwnedFd>,
    /// Relative to the root.
    pub(crate) path: PathBuf,
    /// Size, time of modification and of change: who reads compares.
    pub(crate) seen: Seen,
    /// Whether it has fewer blocks than its size needs.
    pub(crate) sparse: bool,
    pub(crate) notes: Arc<Notes>,
}

/// What tells that a file is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    pub(crate) modified: (i64, u64),
    pub(crate) changed: (i64, u64),
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    file: File,
    unread: Unread,
    /// Where the next byte comes from.
    at: u64,
    /// Until where there is data, and from there on zeros until `zeros_end`. Only for sparse files.
    data_end: u64,
    zeros_end: u64,
}

impl ReadSourceOpen for Unread {
    type Reader = Reading;

    fn open(self) -> RusticResult<Reading> {
        match self.open_file() {
            Ok(file) => {
                let end = if self.sparse { 0 } else { u64::MAX };
                Ok(Reading {
                    file,
                    unread: self,
                    at: 0,
                    data_end: end,
                    zeros_end: end,
                })
            }
            Err(cause) => {
                self.notes.add(Note::of(&self.path, &cause));
                let told = Error::file("open", &self.path)(cause);
                Err(RusticError::with_source(
                    ErrorKind::InputOutput,
                    "open",
                    told,
                ))
            }
        }
    }
}

impl Unread {
    fn open_file(&self) -> io::Result<File> {
        // Without blocking: what was a file may be a FIFO by now.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOATIME;
        let opened = match beneath::open(self.root.as_fd(), &self.path, flags, Mode::empty()) {
            // O_NOATIME is for the owner and for root.
            Err(cause) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                beneath::open(
                    self.root.as_fd(),
                    &self.path,
                    flags - OFlags::NOATIME,
                    Mode::empty(),
                )?
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(opened)),
            _ => Err(io::Error::other("it is no regular file any more")),
        }
    }
}

impl Reading {
    /// Finds what follows `at`: data until `data_end`, zeros until `zeros_end`.
    fn look_ahead(&mut self) -> io::Result<()> {
        let size = rustix::fs::fstat(&self.file)?
            .st_size
            .try_into()
            .unwrap_or(0);
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data,
            // No data behind.
            Err(Errno::NXIO) => size,
            // A file system without holes.
            Err(_) => self.at,
        };
        self.zeros_end = data.max(self.at);
        self.data_end = match data < size {
            true => rustix::fs::seek(&self.file, SeekFrom::Hole(data)).unwrap_or(size),
            false => data,
        };
        Ok(())
    }

    fn read_sparse(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.data_end {
            self.look_ahead()?;
        }
        let zeros = self.zeros_end.saturating_sub(self.at);
        if zeros > 0 {
            let length = usize::try_from(zeros)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            buffer[..length].fill(0);
            return Ok(length);
        }
        let data = usize::try_from(self.data_end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = data.min(buffer.len());
        Ok(rustix::io::pread(
            &self.file,
            &mut buffer[..length],
            self.at,
        )?)
    }

    fn has_changed(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| Seen::of_stat(&stat) != self.unread.seen)
    }
}

impl Seen {
    fn of_stat(stat: &rustix::fs::Stat) -> Seen {
        let nanoseconds = |field: i64| u64::try_from(field).unwrap_or(0);
        Seen {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec as i64)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec as i64)),
        }
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.unread.sparse {
            true => self.read_sparse(buffer),
            false => self.file.read(buffer),
        };
        match read {
            Ok(length) => {
                self.at += length as u64;
                if length == 0 && !buffer.is_empty() && self.has_changed() {
                    self.unread.notes.add(Note::Changed {
                        path: self.unread.path.display().to_string(),
                    });
                }
                Ok(length)
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Err(cause),
            Err(cause) => {
                self.unread.notes.add(Note::of(&self.unread.path, &cause));
                Err(cause)
            }
        }
    }
}
