//! How much of a file system is used and free (statfs(2)).
//! plugins/volume-local tells it of volumes that have a file system of their own.
//! It must never be asked about a network's file system but where it can be killed: it waits for the server.

use std::os::fd::AsFd;

use rustix::fs::fstatvfs;

use super::refused;
use crate::error::Result;

/// Of a file system, in bytes and inodes. Free is what an unprivileged writer can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// All inodes; 0 where it has no fixed number.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// Of the file system that `dir` is on.
///
/// # Errors
/// EIO.
pub fn of(dir: impl AsFd) -> Result<Space> {
    let about = fstatvfs(dir).map_err(refused("ask a file system for its space"))?;
    Ok(Space {
        bytes: about.f_blocks * about.f_frsize,
        free_bytes: about.f_bavail * about.f_frsize,
        inodes: about.f_files,
        free_inodes: about.f_favail,
    })
}
