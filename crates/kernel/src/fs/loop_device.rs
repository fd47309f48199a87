//! Files as block devices (loop(4)): direct I/O, and cleared by the kernel when the last user is gone.
//! plugins/volume-local mounts the file system in a volume's image from one.
//! It must never make a second device of one file: two of them, each mounted, destroy the file system.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::ioctl::{Argument, call, call_with_number};
use crate::error::{KernelError, Result};

/// include/uapi/linux/loop.h.
const GET_FREE: u64 = 0x4C82;
const SET_CAPACITY: u64 = 0x4C07;
const AUTOCLEAR: u32 = 4;
const READ_ONLY: u32 = 1;
const DIRECT_IO: u32 = 16;
/// Bytes of a device's blocks. Unless told, kernels from 6.15 on take what direct I/O to the file wants, which on XFS is 4,096 as
/// soon as the file shares an extent: a file system of smaller blocks could not be mounted after its first snapshot.
const BLOCK: u32 = 512;
/// Major number of loop devices (Documentation/admin-guide/devices.txt).
const MAJOR: u64 = 7;
/// How often a free device may be taken away by others before we have it.
const ATTEMPTS: u32 = 64;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    const NONE: Info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

impl Argument for Info {
    // LOOP_GET_STATUS64
    const REQUEST: u64 = 0x4C05;
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

impl Argument for Config {
    // LOOP_CONFIGURE
    const REQUEST: u64 = 0x4C0A;
}

/// A device that shows a file. The kernel clears it when neither this value nor a mount uses it any more.
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
}

impl LoopDevice {
    /// The device of `image`: the one that there is, or a new one.
    ///
    /// # Errors
    /// ENODEV where the kernel has no loop devices; EBUSY where none is to be had.
    pub fn of(image: &File, read_only: bool) -> Result<Self> {
        if let Some(device) = Self::find(image)? {
            return Ok(device);
        }
        for _ in 0..ATTEMPTS {
            let device = Self::open(free()?)?;
            match device.configure(image, read_only) {
                Ok(()) => return Ok(device),
                // Somebody else was first.
                Err(Errno::EBUSY) => {}
                Err(errno) => {
                    let tried = format!("make {} of an image", device.path.display());
                    return Err(KernelError::new(tried, errno));
                }
            }
        }
        Err(KernelError::new("get a loop device", Errno::EBUSY))
    }

    /// The device that shows `image`, if there is one.
    ///
    /// # Errors
    /// The list of devices cannot be read.
    pub fn find(image: &File) -> Result<Option<Self>> {
        let tried = "look through the loop devices";
        let wanted = image
            .metadata()
            .map_err(|e| KernelError::from_io(tried, &e))?;
        let blocks = fs::read_dir("/sys/block").map_err(|e| KernelError::from_io(tried, &e))?;
        for entry in blocks.flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("loop"));
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            if !entry.path().join("loop").exists() {
                continue;
            }
            let Ok(device) = Self::open(number) else {
                continue;
            };
            let mut info = Info::NONE;
            let known = call(&device.device, &mut info);
            // The device number is in the kernel's old encoding here.
            if known.is_ok()
                && info.inode == wanted.ino()
                && old_number(wanted.dev()) == info.device
            {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    fn open(number: u64) -> Result<Self> {
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let open = || OpenOptions::new().read(true).write(true).open(&path);
        let device = open().or_else(|e| match e.raw_os_error() {
            // A /dev that the kernel does not fill: a managed plugin's.
            Some(errno) if errno == Errno::ENOENT as i32 => {
                let device = makedev(MAJOR, number);
                mknod(
                    &path,
                    SFlag::S_IFBLK,
                    Mode::from_bits_truncate(0o600),
                    device,
                )?;
                open()
            }
            _ => Err(e),
        });
        let device =
            device.map_err(|e| KernelError::from_io(format!("open {}", path.display()), &e))?;
        Ok(Self { device, path })
    }

    fn configure(&self, image: &File, read_only: bool) -> std::result::Result<(), Errno> {
        let mut flags = AUTOCLEAR | DIRECT_IO;
        if read_only {
            flags |= READ_ONLY;
        }
        let configure = |flags| {
            let mut config = Config {
                fd: image.as_fd().as_raw_fd().cast_unsigned(),
                block_size: BLOCK,
                info: Info {
                    flags,
                    ..Info::NONE
                },
                reserved: [0; 8],
            };
            call(&self.device, &mut config).map(drop)
        };
        match configure(flags) {
            // A file system without direct I/O, such as tmpfs of old kernels.
            Err(Errno::EINVAL) => configure(flags & !DIRECT_IO),
            other => other,
        }
    }

    /// Where it is, below /dev.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Has it see that its file has grown.
    ///
    /// # Errors
    /// ENXIO where it shows no file any more.
    pub fn grown(&self) -> Result<()> {
        let tried = || format!("let {} see its new size", self.path.display());
        call_with_number(&self.device, SET_CAPACITY, 0)
            .map(drop)
            .map_err(|errno| KernelError::new(tried(), errno))
    }
}

/// `huge_encode_dev()` and `new_encode_dev()` agree for what stat(2) shows, but for the order of bits.
fn old_number(device: u64) -> u64 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// A number that is free now.
fn free() -> Result<u64> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(|e| KernelError::from_io("open /dev/loop-control", &e))?;
    let number = call_with_number(&control, GET_FREE, 0)
        .map_err(|errno| KernelError::new("ask for a free loop device", errno))?;
    Ok(u64::try_from(number).unwrap_or_default())
}
