//! A file system that is one file, by the kernel's own protocol (include/uapi/linux/fuse.h, 7.31): what `Disk` is to a
//! loop device. It ends with the last who has the file open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Shared;

/// Largest piece that is written at once, and how many pages that is.
const LARGEST: u32 = 1 << 20;
const PAGES: u16 = 256;
/// Room for the headers before it.
const HEADERS: usize = 4096;
/// Attributes are good for so many seconds: nobody else changes them.
const FOR_EVER: u64 = 1 << 30;

/// Flags of FUSE_INIT: large writes, and how many pages.
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
/// Flag of FUSE_OPEN: no page cache between the loop device and us.
const DIRECT_IO: u32 = 1;

mod code {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// One request: struct fuse_in_header, and what follows it.
struct Request<'a> {
    code: u32,
    unique: u64,
    body: &'a [u8],
}

/// Serves the disk on a thread; the file, opened, and the mount namespace in which it has its name. Without that, the
/// kernel calls the file `/`, which `losetup` takes for the machine's own root.
pub(super) fn start(shared: Arc<Shared>) -> (File, File) {
    let mut kernel = OpenOptions::new();
    let kernel = kernel.read(true).write(true).open("/dev/fuse");
    let kernel = kernel.expect("open /dev/fuse (is FUSE in this kernel?)");
    let ours = kernel.try_clone().expect("duplicate a descriptor");
    std::thread::spawn(move || serve(&ours, &shared));
    let mounted = std::thread::spawn(move || opened(&kernel));
    mounted.join().expect("mount the disk's file")
}

fn opened(kernel: &File) -> (File, File) {
    const PLACE: &str = "/run/wharfline-test-disk";
    unshare(CloneFlags::CLONE_NEWNS)
        .expect("unshare mounts (the tests on a real kernel run as root)");
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("make mounts private");
    let tmpfs = Some("tmpfs");
    mount(tmpfs, "/run", tmpfs, MsFlags::empty(), none).expect("mount a tmpfs on /run");
    File::create(PLACE).expect("make a mount point");
    let options = format!(
        "fd={},rootmode=100000,user_id=0,group_id=0",
        kernel.as_raw_fd()
    );
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(
        Some("disk"),
        PLACE,
        Some("fuse"),
        flags,
        Some(options.as_str()),
    )
    .expect("mount FUSE");
    let file = OpenOptions::new().read(true).write(true).open(PLACE);
    let mounts = File::open("/proc/thread-self/ns/mnt");
    (
        file.expect("open the disk"),
        mounts.expect("open the mount namespace"),
    )
}

/// Until the kernel has no more use for us.
fn serve(kernel: &File, shared: &Shared) {
    let mut buffer = vec![0; LARGEST as usize + HEADERS];
    loop {
        let length = match (&*kernel).read(&mut buffer) {
            Ok(length) => length,
            Err(cause) if cause.raw_os_error() == Some(libc::ENODEV) => return,
            // Nothing was read: interrupted, or the request was taken back.
            Err(_) => continue,
        };
        let Some(request) = Request::parse(&buffer[..length]) else {
            continue;
        };
        if let Some(answer) = answer(&request, shared) {
            // It fails where whoever asked has gone.
            let _ = (&*kernel).write_all(&framed(request.unique, answer));
        }
    }
}

impl Request<'_> {
    fn parse(bytes: &[u8]) -> Option<Request<'_>> {
        let (header, body) = bytes.split_at_checked(40)?;
        Some(Request {
            code: u32::from_ne_bytes(header[4..8].try_into().ok()?),
            unique: u64::from_ne_bytes(header[8..16].try_into().ok()?),
            body,
        })
    }

    /// Offset and size of struct fuse_read_in and fuse_write_in.
    fn range(&self) -> io::Result<(u64, usize)> {
        let offset = self.body.get(8..16).and_then(|part| part.try_into().ok());
        let size = self.body.get(16..20).and_then(|part| part.try_into().ok());
        let (Some(offset), Some(size)) = (offset, size) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((
            u64::from_ne_bytes(offset),
            u32::from_ne_bytes(size) as usize,
        ))
    }
}

/// What is answered; some requests have no answer.
fn answer(request: &Request<'_>, shared: &Shared) -> Option<io::Result<Vec<u8>>> {
    Some(match request.code {
        code::FORGET | code::BATCH_FORGET | code::INTERRUPT => return None,
        code::INIT => Ok(init()),
        code::GETATTR => Ok(attributes(shared.bytes)),
        code::OPEN => Ok([&0u64.to_ne_bytes()[..], &DIRECT_IO.to_ne_bytes(), &[0; 4]].concat()),
        code::READ => request.range().and_then(|(at, size)| shared.read(at, size)),
        code::WRITE => request.range().and_then(|(to, size)| {
            // After struct fuse_write_in.
            let bytes = request.body.get(40..40 + size).unwrap_or_default();
            shared.write(to, bytes)?;
            Ok([u32::try_from(size).unwrap_or(0).to_ne_bytes(), [0; 4]].concat())
        }),
        code::FSYNC => shared.flush().map(|()| Vec::new()),
        code::FLUSH | code::RELEASE => Ok(Vec::new()),
        // The kernel does without.
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    })
}

/// struct fuse_init_out.
fn init() -> Vec<u8> {
    let mut out = Vec::new();
    for word in [7, 31, LARGEST, BIG_WRITES | MAX_PAGES] {
        out.extend(u32::to_ne_bytes(word));
    }
    // max_background, congestion_threshold.
    out.extend([16u16, 12].map(u16::to_ne_bytes).concat());
    // max_write, time_gran.
    out.extend([LARGEST, 1].map(u32::to_ne_bytes).concat());
    out.extend(PAGES.to_ne_bytes());
    out.resize(64, 0);
    out
}

/// struct fuse_attr_out of a file that root may read and write.
fn attributes(bytes: u64) -> Vec<u8> {
    let mut out = Vec::new();
    // Valid for seconds, and nanoseconds; inode, size, blocks; three times.
    for word in [FOR_EVER, 0, 1, bytes, bytes / 512, 0, 0, 0] {
        out.extend(u64::to_ne_bytes(word));
    }
    // Nanoseconds of the three times, mode, links, uid, gid, rdev, block size, flags.
    for word in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
        out.extend(u32::to_ne_bytes(word));
    }
    out
}

/// struct fuse_out_header before it.
fn framed(unique: u64, answer: io::Result<Vec<u8>>) -> Vec<u8> {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(cause) => (-cause.raw_os_error().unwrap_or(libc::EIO), Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(16 + body.len());
    out.extend(length.to_ne_bytes());
    out.extend(error.to_ne_bytes());
    out.extend(unique.to_ne_bytes());
    out.extend(body);
    out
}
