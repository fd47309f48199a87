//! Project quotas: how much the files of one tree may take, on XFS and ext4 (quotactl_fd(2), ioctl_xfs_fsgetxattr(2)).
//! plugins/volume-local's quota backend calls it.
//! It must never be asked for a project that somebody else has: the backend chooses numbers that are free.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

use super::ioctl::{Argument, READ, WRITE, call, number};
use crate::error::{KernelError, Result};

/// `FS_XFLAG_PROJINHERIT`: what is made below belongs to the project, too.
const INHERIT: u32 = 0x200;
/// include/uapi/linux/quota.h: `Q_GETQUOTA`, `Q_SETQUOTA`, `PRJQUOTA`, `QIF_LIMITS`.
const GET: u32 = 0x80_0007;
const SET: u32 = 0x80_0008;
const PROJECT: u32 = 2;
const LIMITS: u32 = 1 | 4;
/// Limits of blocks are in units of 1,024 bytes (`QIF_DQBLKSIZE`).
const UNIT: u64 = 1024;

/// `struct fsxattr`, as it is read and as it is written.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes<const REQUEST: u64> {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

const READ_ATTRIBUTES: u64 = number(READ, b'X', 31, 28);
const WRITE_ATTRIBUTES: u64 = number(WRITE, b'X', 32, 28);

impl<const REQUEST: u64> Argument for Attributes<REQUEST> {
    const REQUEST: u64 = REQUEST;
}

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quota {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// What a project uses and may use. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Bytes used.
    pub bytes: u64,
    /// Most bytes.
    pub most_bytes: u64,
    /// Inodes used.
    pub inodes: u64,
    /// Most inodes.
    pub most_inodes: u64,
}

/// Whether the file system of `dir` counts by project, and keeps to its limits.
pub fn is_on(dir: impl AsFd) -> bool {
    // Of a project that nobody has, the answer is zeroes (ext4) or ENOENT (XFS).
    let mut quota = Quota::default();
    matches!(
        quotactl(dir, GET, u32::MAX - 1, &mut quota),
        Ok(()) | Err(Errno::ENOENT)
    )
}

/// Puts the folder `dir` into `project`, and what is made in it from now on.
///
/// # Errors
/// EOPNOTSUPP or ENOTTY where the file system has no projects.
pub fn assign(dir: impl AsFd, project: u32) -> Result<()> {
    let tried = || format!("put a folder into project {project}");
    let mut now = Attributes::<READ_ATTRIBUTES>::default();
    call(&dir, &mut now).map_err(|errno| KernelError::new(tried(), errno))?;
    let mut wanted = Attributes::<WRITE_ATTRIBUTES> {
        flags: if project == 0 {
            now.flags & !INHERIT
        } else {
            now.flags | INHERIT
        },
        extent_size: now.extent_size,
        extents: now.extents,
        project,
        cow_extent_size: now.cow_extent_size,
        padding: [0; 8],
    };
    call(dir, &mut wanted)
        .map(drop)
        .map_err(|errno| KernelError::new(tried(), errno))
}

/// The project that the folder `dir` belongs to; 0 is none.
///
/// # Errors
/// EOPNOTSUPP or ENOTTY where the file system has no projects.
pub fn of(dir: impl AsFd) -> Result<u32> {
    let mut now = Attributes::<READ_ATTRIBUTES>::default();
    call(dir, &mut now).map_err(|errno| KernelError::new("ask for a folder's project", errno))?;
    Ok(now.project)
}

/// Limits `project` of the file system of `dir`; 0 is no limit. A writer beyond it gets ENOSPC (XFS) or EDQUOT (ext4).
///
/// # Errors
/// ESRCH where the file system does not count by project.
pub fn limit(dir: impl AsFd, project: u32, bytes: u64, inodes: u64) -> Result<()> {
    let mut quota = Quota {
        hard_blocks: bytes.div_ceil(UNIT),
        hard_inodes: inodes,
        valid: LIMITS,
        ..Quota::default()
    };
    quotactl(dir, SET, project, &mut quota)
        .map_err(|errno| KernelError::new(format!("limit project {project}"), errno))
}

/// What `project` uses.
///
/// # Errors
/// ESRCH where the file system does not count by project.
pub fn usage(dir: impl AsFd, project: u32) -> Result<Use> {
    let mut quota = Quota::default();
    match quotactl(dir, GET, project, &mut quota) {
        Ok(()) | Err(Errno::ENOENT) => Ok(Use {
            bytes: quota.bytes,
            most_bytes: quota.hard_blocks * UNIT,
            inodes: quota.inodes,
            most_inodes: quota.hard_inodes,
        }),
        Err(errno) => Err(KernelError::new(
            format!("ask what project {project} uses"),
            errno,
        )),
    }
}

fn quotactl(
    dir: impl AsFd,
    command: u32,
    project: u32,
    quota: &mut Quota,
) -> std::result::Result<(), Errno> {
    let dir = dir.as_fd().as_raw_fd();
    #[expect(
        unsafe_code,
        reason = "JUSTIFICATION: no safe library has quotactl_fd(2)"
    )]
    // SAFETY: the structure lives for the call and has the layout that these two commands read and write.
    let answered = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            dir,
            command << 8 | PROJECT,
            project,
            std::ptr::from_mut(quota),
        )
    };
    Errno::result(answered).map(drop)
}
