//! Growing a mounted file system to the size of its device, while it is in use.
//! plugins/volume-local calls it after it made a volume's image larger, and at each mount.
//! It must never shrink one: a file system that fills its device is left alone.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::ioctl::{Argument, WRITE, call, number};
use crate::error::{KernelError, Result};

/// `EXT4_IOC_RESIZE_FS` (include/uapi/linux/ext4.h): the size in blocks.
#[repr(transparent)]
struct Ext4(u64);

impl Argument for Ext4 {
    const REQUEST: u64 = number(WRITE, b'f', 16, 8);
}

/// `struct xfs_growfs_data` (fs/xfs/libxfs/xfs_fs.h).
#[repr(C)]
struct Xfs {
    blocks: u64,
    inode_percent: u32,
    padding: u32,
}

impl Argument for Xfs {
    const REQUEST: u64 = number(WRITE, b'X', 110, 16);
}

/// `struct xfs_fsop_geom_v1`, of `XFS_IOC_FSGEOMETRY_V1`.
#[repr(C)]
#[derive(Default)]
struct XfsGeometry {
    block_size: u32,
    extent_size: u32,
    group_blocks: u32,
    groups: u32,
    log_blocks: u32,
    sector_size: u32,
    inode_size: u32,
    inode_percent: u32,
    data_blocks: u64,
    rest: [u64; 9],
}

impl Argument for XfsGeometry {
    const REQUEST: u64 = number(super::ioctl::READ, b'X', 100, 112);
}

/// `struct btrfs_ioctl_vol_args`, of `BTRFS_IOC_RESIZE`.
#[repr(C)]
struct Btrfs {
    fd: i64,
    name: [u8; 4088],
}

impl Argument for Btrfs {
    const REQUEST: u64 = number(WRITE, 0x94, 3, 4096);
}

/// A file system of btrfs ends with a whole sector.
const SECTOR: u64 = 65_536;

/// Lets the file system of kind `kind` (`ext4`, `xfs`, `btrfs`) at `root` fill its device of `bytes`.
///
/// # Errors
/// EOPNOTSUPP for another kind; ENOSPC, EPERM.
pub fn to_device(root: impl AsFd, kind: &str, bytes: u64) -> Result<()> {
    let tried = || format!("grow the {kind} to {bytes} bytes");
    let grown = match kind {
        "ext4" => ext4(root, bytes),
        "xfs" => xfs(root, bytes),
        "btrfs" => btrfs(root, bytes),
        _ => Err(Errno::EOPNOTSUPP),
    };
    grown.map_err(|errno| KernelError::new(tried(), errno))
}

fn ext4(root: impl AsFd, bytes: u64) -> std::result::Result<(), Errno> {
    let about = rustix::fs::fstatvfs(&root).map_err(|e| Errno::from_raw(e.raw_os_error()))?;
    call(root, &mut Ext4(bytes / about.f_bsize)).map(drop)
}

fn xfs(root: impl AsFd, bytes: u64) -> std::result::Result<(), Errno> {
    let mut geometry = XfsGeometry::default();
    call(&root, &mut geometry)?;
    let blocks = bytes / u64::from(geometry.block_size.max(1));
    if blocks <= geometry.data_blocks {
        return Ok(());
    }
    let mut argument = Xfs {
        blocks,
        inode_percent: geometry.inode_percent,
        padding: 0,
    };
    call(root, &mut argument).map(drop)
}

fn btrfs(root: impl AsFd, bytes: u64) -> std::result::Result<(), Errno> {
    // Refused with EINVAL below 256 MiB, even where nothing is to be done (fs/btrfs/ioctl.c, btrfs_ioctl_resize).
    let about = rustix::fs::fstatvfs(&root).map_err(|e| Errno::from_raw(e.raw_os_error()))?;
    if about.f_blocks * about.f_frsize + SECTOR > bytes {
        return Ok(());
    }
    let mut argument = Btrfs {
        fd: 0,
        name: [0; 4088],
    };
    argument.name[..3].copy_from_slice(b"max");
    call(root, &mut argument).map(drop)
}
