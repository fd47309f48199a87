//! A disk with a write cache that is lost in a power cut, and that can be pulled out: every write and every flush that
//! reaches it is recorded, so that what the disk would hold after a cut at any of them can be had as an image.
//!
//! Called by the tests of power cuts and of vanishing devices. It is a file of FUSE, served by a thread of the test, that a
//! loop device shows: the kernel's file system above it is the real one, and its flushes arrive here as fsync. It must never
//! be seen by the machine: it is mounted in a mount namespace of its own, and reached by a descriptor alone.

mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a disk writes as a whole or not at all: file systems rely on that for their superblocks.
const SECTOR: usize = 4096;

/// A disk of its own.
pub struct Disk {
    file: File,
    _mounts: File,
    shared: Arc<Shared>,
}

/// What the serving thread and the test share.
struct Shared {
    bytes: u64,
    /// What it holds, cache included.
    now: File,
    log: Mutex<Log>,
    pulled: AtomicBool,
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    /// The data of all writes, one after the other.
    data: Option<File>,
    length: u64,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// `length` bytes to `to`, which are at `at` in the log's data.
    Write { to: u64, at: u64, length: usize },
    /// All before is on the disk.
    Flush,
}

impl Disk {
    /// An empty disk of so many bytes.
    ///
    /// # Panics
    ///
    /// Where the kernel has no FUSE, or we may not mount.
    pub fn new(bytes: u64) -> Disk {
        let log = Log {
            data: Some(nameless()),
            ..Log::default()
        };
        let shared = Arc::new(Shared {
            bytes,
            now: nameless(),
            log: Mutex::new(log),
            pulled: AtomicBool::new(false),
        });
        shared.now.set_len(bytes).expect("set the disk's size");
        let (file, mounts) = server::start(Arc::clone(&shared));
        Disk {
            file,
            _mounts: mounts,
            shared,
        }
    }

    /// Where `losetup` and `mount -o loop` find it, in whatever mount namespace they are.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// How many writes and flushes it has seen.
    pub fn events(&self) -> usize {
        self.shared.log().events.len()
    }

    /// From now on it answers each request with EIO, as one that is not there any more.
    pub fn pull(&self) {
        self.shared.pulled.store(true, Ordering::SeqCst);
    }

    /// The disk after a power cut at event number `at`: all that was flushed by then, and of what came after the last
    /// flush some sectors and others not, in no order, as `seed` has it.
    pub fn cut(&self, at: usize, seed: u64) -> File {
        let image = nameless();
        image.set_len(self.shared.bytes).expect("set the size");
        let log = self.shared.log();
        let events = &log.events[..at.min(log.events.len())];
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        let flushed = events.iter().rposition(is_flush).unwrap_or(0);
        let data = log.data.as_ref().expect("the log's data");
        let mut chance = seed | 1;
        for (number, event) in events.iter().enumerate() {
            let Event::Write { to, at, length } = *event else {
                continue;
            };
            let mut bytes = vec![0; length];
            data.read_exact_at(&mut bytes, at).expect("read the log");
            for (part, offset) in bytes.chunks(SECTOR).zip((to..).step_by(SECTOR)) {
                if number < flushed || toss(&mut chance) {
                    image.write_all_at(part, offset).expect("write the image");
                }
            }
        }
        image
    }
}

impl Shared {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self) -> io::Result<()> {
        match self.pulled.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            false => Ok(()),
        }
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.is_there()?;
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        self.now.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn write(&self, to: u64, bytes: &[u8]) -> io::Result<()> {
        self.is_there()?;
        self.now.write_all_at(bytes, to)?;
        let mut log = self.log();
        let (at, length) = (log.length, bytes.len());
        let data = log.data.as_ref().expect("the log's data");
        data.write_all_at(bytes, at)?;
        log.length += length as u64;
        log.events.push(Event::Write { to, at, length });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.is_there()?;
        self.log().events.push(Event::Flush);
        Ok(())
    }
}

/// True half of the time (xorshift64).
fn toss(state: &mut u64) -> bool {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 63 == 1
}

/// A file without a name, on the disk rather than in memory.
fn nameless() -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_TMPFILE);
    let directory = std::env::temp_dir();
    options
        .open(&directory)
        .unwrap_or_else(|e| panic!("a file in {}: {e}", directory.display()))
}
