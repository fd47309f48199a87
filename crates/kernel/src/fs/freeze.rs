//! A file system that stands still while it is copied: writers wait, what is on the disk is whole (FIFREEZE).
//! plugins/volume-local freezes a volume's own file system around a copy of its image.
//! It must never leave one frozen: the value thaws it, and who freezes has somebody watch that dies later than he does.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::ioctl::{READ, WRITE, call_with_number, number};
use crate::error::{KernelError, Result};

/// `FIFREEZE` and `FITHAW` (include/uapi/linux/fs.h).
const FREEZE: u64 = number(READ | WRITE, b'X', 119, 4);
const THAW: u64 = number(READ | WRITE, b'X', 120, 4);

/// A frozen file system; dropping it thaws.
#[derive(Debug)]
pub struct Frozen {
    root: OwnedFd,
}

impl Frozen {
    /// Freezes the file system that `dir` is on.
    ///
    /// # Errors
    /// EBUSY where it is frozen already; EOPNOTSUPP where it has nothing to freeze.
    pub fn freeze(dir: OwnedFd) -> Result<Self> {
        call_with_number(&dir, FREEZE, 0)
            .map_err(|errno| KernelError::new("freeze a file system", errno))?;
        Ok(Self { root: dir })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = thaw(&self.root);
    }
}

/// Thaws the file system that `dir` is on; one that is not frozen is success.
///
/// # Errors
/// EPERM.
pub fn thaw(dir: impl AsFd) -> Result<()> {
    match call_with_number(dir, THAW, 0) {
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(KernelError::new("thaw a file system", errno)),
    }
}

/// Writes out what is not on the disk of `dir`'s file system yet (syncfs(2)).
///
/// # Errors
/// EIO, ENOSPC.
pub fn sync(dir: &File) -> Result<()> {
    rustix::fs::syncfs(dir).map_err(super::refused("write a file system out"))
}
