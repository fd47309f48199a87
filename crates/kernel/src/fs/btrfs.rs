//! Subvolumes, snapshots and quota groups of btrfs (include/uapi/linux/btrfs.h, btrfs-ioctl(8)).
//! plugins/volume-local's btrfs backend calls it.
//! It must never delete by a path: a subvolume is named in its parent's descriptor.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use rustix::fs::{FsWord, fstat, fstatfs};

use super::ioctl::{Argument, READ, WRITE, call, number};
use super::refused;
use crate::error::{KernelError, Result};

/// `BTRFS_SUPER_MAGIC` (include/uapi/linux/magic.h).
const MAGIC: FsWord = 0x9123_683e;
/// Inode of every subvolume's root (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_INODE: u64 = 256;
/// `BTRFS_IOCTL_MAGIC`.
const BTRFS: u8 = 0x94;
/// Longest name (`BTRFS_SUBVOL_NAME_MAX`).
const NAME_MAX: usize = 4039;
/// `BTRFS_SUBVOL_RDONLY`.
const READ_ONLY: u64 = 1 << 1;
/// `BTRFS_QUOTA_TREE_OBJECTID`, `BTRFS_QGROUP_INFO_KEY` and `BTRFS_QGROUP_LIMIT_KEY`.
const QUOTA_TREE: u64 = 8;
const QGROUP_INFO_KEY: u32 = 242;
const QGROUP_LIMIT_KEY: u32 = 244;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`.
const LIMIT_REFERENCED: u64 = 1;

const CREATE: u64 = number(WRITE, BTRFS, 24, 4096);
const SNAPSHOT: u64 = number(WRITE, BTRFS, 23, 4096);
const START_SYNC: u64 = number(READ, BTRFS, 24, 8);
const WAIT_SYNC: u64 = number(WRITE, BTRFS, 22, 8);

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct VolArgs2<const REQUEST: u64> {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; NAME_MAX + 1],
}

impl<const REQUEST: u64> Argument for VolArgs2<REQUEST> {
    const REQUEST: u64 = REQUEST;
}

/// `struct btrfs_ioctl_vol_args`, of `BTRFS_IOC_SNAP_DESTROY`.
#[repr(C)]
struct Destroy {
    fd: i64,
    name: [u8; 4088],
}

impl Argument for Destroy {
    const REQUEST: u64 = number(WRITE, BTRFS, 15, 4096);
}

/// `struct btrfs_ioctl_quota_ctl_args`.
#[repr(C)]
struct QuotaControl {
    command: u64,
    status: u64,
}

impl Argument for QuotaControl {
    const REQUEST: u64 = number(READ | WRITE, BTRFS, 40, 16);
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
#[derive(Default)]
struct QgroupLimit {
    qgroup: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved: [u64; 2],
}

impl Argument for QgroupLimit {
    const REQUEST: u64 = number(READ, BTRFS, 43, 48);
}

/// A commit's number, of `BTRFS_IOC_START_SYNC` and `BTRFS_IOC_WAIT_SYNC`.
#[repr(C)]
struct Commit<const REQUEST: u64> {
    number: u64,
}

impl<const REQUEST: u64> Argument for Commit<REQUEST> {
    const REQUEST: u64 = REQUEST;
}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
struct QgroupCreate {
    create: u64,
    qgroup: u64,
}

impl Argument for QgroupCreate {
    const REQUEST: u64 = number(WRITE, BTRFS, 42, 16);
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct InodeLookup {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

impl Argument for InodeLookup {
    const REQUEST: u64 = number(READ | WRITE, BTRFS, 18, 4096);
}

/// `struct btrfs_ioctl_search_args`.
#[repr(C)]
struct Search {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: u32,
    unused_more: [u64; 4],
    found: [u8; 4096 - 104],
}

impl Argument for Search {
    const REQUEST: u64 = number(READ | WRITE, BTRFS, 17, 4096);
}

/// Whether the file system of `dir` is btrfs.
///
/// # Errors
/// fstatfs(2)'s.
pub fn is_btrfs(dir: impl AsFd) -> Result<bool> {
    let about = fstatfs(dir).map_err(refused("ask for the file system's kind"))?;
    Ok(about.f_type == MAGIC)
}

/// Whether `dir` is the root of a subvolume.
///
/// # Errors
/// fstat(2)'s.
pub fn is_subvolume(dir: impl AsFd) -> Result<bool> {
    let inode = fstat(&dir).map_err(refused("look at a folder"))?.st_ino;
    Ok(inode == ROOT_INODE && is_btrfs(dir)?)
}

/// Makes the subvolume `name` in `parent`.
///
/// # Errors
/// EEXIST; ENOTTY where the file system is not btrfs.
pub fn create(parent: impl AsFd, name: &str) -> Result<()> {
    let tried = || format!("make subvolume {name}");
    let mut argument = VolArgs2::<CREATE> {
        fd: 0,
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: named(name).ok_or_else(|| KernelError::new(tried(), Errno::ENAMETOOLONG))?,
    };
    done(call(parent, &mut argument), tried)
}

/// Makes `name` in `parent` a snapshot of the subvolume `source`: as it is now, and apart from it from now on.
///
/// # Errors
/// EEXIST; EXDEV where they are of different file systems.
pub fn snapshot(source: impl AsFd, parent: impl AsFd, name: &str, read_only: bool) -> Result<()> {
    let tried = || format!("make snapshot {name}");
    let mut argument = VolArgs2::<SNAPSHOT> {
        fd: source.as_fd().as_raw_fd().into(),
        transid: 0,
        flags: if read_only { READ_ONLY } else { 0 },
        unused: [0; 4],
        name: named(name).ok_or_else(|| KernelError::new(tried(), Errno::ENAMETOOLONG))?,
    };
    done(call(parent, &mut argument), tried)
}

/// Deletes the subvolume `name` in `parent` with all that is in it. Space comes back a little later.
///
/// # Errors
/// ENOTEMPTY where another subvolume is below it.
pub fn delete(parent: impl AsFd, name: &str) -> Result<()> {
    let tried = || format!("delete subvolume {name}");
    let mut argument = Destroy {
        fd: 0,
        name: named(name).ok_or_else(|| KernelError::new(tried(), Errno::ENAMETOOLONG))?,
    };
    done(call(parent, &mut argument), tried)
}

/// Has the file system count what each subvolume uses. Done before is success.
///
/// # Errors
/// EPERM, EROFS.
pub fn enable_quota(dir: impl AsFd) -> Result<()> {
    // BTRFS_QUOTA_CTL_ENABLE
    let mut argument = QuotaControl {
        command: 1,
        status: 0,
    };
    match call(dir, &mut argument) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(KernelError::new("enable quota groups", errno)),
    }
}

/// Identifier of the subvolume that `dir` is in; its quota group has the same.
///
/// # Errors
/// ENOTTY where the file system is not btrfs.
pub fn id(dir: impl AsFd) -> Result<u64> {
    let mut argument = InodeLookup {
        tree: 0,
        object: ROOT_INODE,
        name: [0; 4080],
    };
    call(dir, &mut argument).map_err(|e| KernelError::new("ask for a subvolume's number", e))?;
    Ok(argument.tree)
}

/// Limits what the subvolume `dir` refers to; 0 lifts the limit. A writer beyond it gets EDQUOT.
///
/// # Errors
/// ENOTCONN where quota groups are not enabled.
pub fn limit(dir: impl AsFd, bytes: u64) -> Result<()> {
    let mut argument = QgroupLimit {
        qgroup: id(&dir)?,
        flags: LIMIT_REFERENCED,
        // (u64)-1 clears a limit (fs/btrfs/qgroup.c, btrfs_limit_qgroup).
        max_referenced: if bytes == 0 { u64::MAX } else { bytes },
        ..QgroupLimit::default()
    };
    done(call(dir, &mut argument), || {
        format!("limit a subvolume to {bytes} bytes")
    })
}

/// Bytes that the subvolume `dir` refers to, as its quota group counted them at the last commit; `None` where quota
/// groups are not enabled.
///
/// # Errors
/// EPERM: looking into trees needs CAP_SYS_ADMIN.
pub fn used(dir: impl AsFd) -> Result<Option<u64>> {
    // A generation, then the referenced bytes (btrfs_qgroup_info_item).
    of_quota_group(dir, QGROUP_INFO_KEY)
}

/// What [`limit`] has set for the subvolume `dir`; `None` where nothing was.
///
/// # Errors
/// As of [`used`].
pub fn limit_of(dir: impl AsFd) -> Result<Option<u64>> {
    // Flags, then the most referenced bytes (btrfs_qgroup_limit_item).
    of_quota_group(dir, QGROUP_LIMIT_KEY)
}

/// Has on the disk what was done to subvolumes and quota groups until now: an fsync(2) of a folder has the folder alone.
///
/// # Errors
/// EIO, EROFS.
pub fn commit(dir: impl AsFd) -> Result<()> {
    let mut begun = Commit::<START_SYNC> { number: 0 };
    let refused = |errno| KernelError::new("commit a file system", errno);
    call(&dir, &mut begun).map_err(refused)?;
    let mut awaited = Commit::<WAIT_SYNC> {
        number: begun.number,
    };
    call(&dir, &mut awaited).map(drop).map_err(refused)
}

/// The second number of an item of a subvolume's quota group.
fn of_quota_group(dir: impl AsFd, kind: u32) -> Result<Option<u64>> {
    let qgroup = id(&dir)?;
    let mut argument = Search {
        tree: QUOTA_TREE,
        min_object: 0,
        max_object: 0,
        min_offset: qgroup,
        max_offset: qgroup,
        min_transid: 0,
        max_transid: u64::MAX,
        min_type: kind,
        max_type: kind,
        items: 1,
        unused: 0,
        unused_more: [0; 4],
        found: [0; 4096 - 104],
    };
    match call(dir, &mut argument) {
        Ok(_) if argument.items == 0 => Ok(None),
        // A header of 32 bytes, then the item's numbers.
        Ok(_) => Ok(argument.found[40..48]
            .try_into()
            .map(u64::from_le_bytes)
            .ok()),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(KernelError::new("look into a quota group", errno)),
    }
}

/// Forgets the quota group of a subvolume that is gone; absent is success.
///
/// # Errors
/// EBUSY while the kernel still takes the subvolume apart.
pub fn forget_quota_group(dir: impl AsFd, qgroup: u64) -> Result<()> {
    let mut argument = QgroupCreate { create: 0, qgroup };
    match call(dir, &mut argument) {
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTCONN) => Ok(()),
        Err(errno) => Err(KernelError::new(
            format!("remove quota group {qgroup}"),
            errno,
        )),
    }
}

fn done(answered: std::result::Result<i32, Errno>, tried: impl Fn() -> String) -> Result<()> {
    answered
        .map(drop)
        .map_err(|errno| KernelError::new(tried(), errno))
}

/// A name, closed by NULs.
fn named<const SIZE: usize>(name: &str) -> Option<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    bytes
        .get_mut(..SIZE - 1)?
        .get_mut(..name.len())?
        .copy_from_slice(name.as_bytes());
    Some(bytes)
}
