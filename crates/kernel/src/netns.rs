//! Network namespaces: opening, telling apart, and entering one on a thread of its own.
//! The engine opens the container's with it; tests build labs with it.
//! It must never move the caller's thread: there is no way back to forget.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};

use crate::error::{KernelError, Result};

/// The calling thread's own namespace. `/proc/self` would be the main thread's.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// What tells one network namespace from another while it lives: nsfs device and inode
/// (namespaces(7), ioctl_nsfs(2)). An inode may be reused after the namespace has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number of the namespace.
    pub ino: u64,
}

/// An open network namespace, kept alive by its descriptor.
#[derive(Debug)]
pub struct Netns {
    file: Arc<File>,
    path: PathBuf,
    id: NetnsId,
}

/// Work that goes on in a namespace while the caller does something else.
#[derive(Debug)]
pub struct Aside<T> {
    thread: JoinHandle<Result<T>>,
}

impl<T> Aside<T> {
    /// Waits for the end of the work.
    ///
    /// Errors: as [`Netns::enter`].
    pub fn join(self) -> Result<T> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Netns {
    /// Opens the namespace at `path` (a bind mount or /proc/PID/ns/net).
    ///
    /// Errors: ENOENT and the like from open(2); EINVAL where the file is no network namespace.
    pub fn open(path: &Path) -> Result<Self> {
        let tried = || format!("open network namespace {}", path.display());
        // Without O_NONBLOCK the open of a FIFO would wait for its writer for ever.
        let opened = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path);
        let file = opened.map_err(|e| KernelError::from_io(tried(), &e))?;
        let meta = file
            .metadata()
            .map_err(|e| KernelError::from_io(tried(), &e))?;
        let id = NetnsId {
            dev: meta.dev(),
            ino: meta.ino(),
        };
        // A file of another kind would only fail at setns(2), after work was done.
        if nsfs_type(&file) != Some(CloneFlags::CLONE_NEWNET) {
            return Err(KernelError::new(tried(), Errno::EINVAL)
                .with_extack(Some("not a network namespace".into())));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            id,
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open(Path::new(CURRENT))
    }

    /// Its identity while it lives.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The path it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside the namespace, on a thread that ends with it.
    ///
    /// Errors: what setns(2) says (EPERM without CAP_SYS_ADMIN), EAGAIN where no thread can be made, or what
    /// `work` returns.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let tried = || format!("enter network namespace {}", self.path.display());
        thread::scope(|scope| {
            let inside = thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || {
                    setns(&*self.file, CloneFlags::CLONE_NEWNET)
                        .map_err(|errno| KernelError::new(tried(), errno))?;
                    work()
                })
                .map_err(|e| KernelError::from_io(tried(), &e))?;
            match inside.join() {
                Ok(result) => result,
                // A panic inside is a bug of ours: let it reach the boundary that reports it.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Making a thread and waking it costs a quarter of a millisecond where the processors sleep: time for other work.
const ASIDE_STACK_BYTES: usize = 128 * 1024;

impl Netns {
    /// Like [`Netns::enter`], while the caller goes on.
    pub fn enter_aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<Aside<T>> {
        let tried = format!("enter network namespace {}", self.path.display());
        let file = Arc::clone(&self.file);
        let refusal = tried.clone();
        thread::Builder::new()
            .name("netns".into())
            .stack_size(ASIDE_STACK_BYTES)
            .spawn(move || {
                setns(&*file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| KernelError::new(refusal, errno))?;
                work()
            })
            .map(|thread| Aside { thread })
            .map_err(|e| KernelError::from_io(tried, &e))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The identity of the calling thread's own namespace.
pub fn current_id() -> Result<NetnsId> {
    let meta = fs::metadata(CURRENT)
        .map_err(|e| KernelError::from_io("look at the own network namespace", &e))?;
    Ok(NetnsId {
        dev: meta.dev(),
        ino: meta.ino(),
    })
}

/// The identity of the namespace at `path` without keeping it open; `None` where there is none.
pub fn identity(path: &Path) -> Option<NetnsId> {
    Netns::open(path).ok().map(|netns| netns.id())
}

/// Which kind of namespace a file is: ioctl_nsfs(2), `NS_GET_NSTYPE`.
fn nsfs_type(file: &File) -> Option<CloneFlags> {
    const NS_GET_NSTYPE: u64 = 0xb703;
    use std::os::fd::AsRawFd;
    #[expect(
        unsafe_code,
        reason = "nix has no wrapper for this ioctl; JUSTIFICATION: a regular file must be refused early"
    )]
    // SAFETY: the request takes no argument and writes nothing; the descriptor is open.
    let kind = unsafe { nix::libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    (kind >= 0).then(|| CloneFlags::from_bits_truncate(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_no_namespace() {
        let error = Netns::open(Path::new("/proc/self/status")).expect_err("refused");
        assert_eq!(error.errno(), Errno::EINVAL);
        assert!(error.to_string().contains("/proc/self/status"));
    }

    #[test]
    fn a_namespace_of_another_kind_is_refused() {
        let error = Netns::open(Path::new("/proc/self/ns/uts")).expect_err("refused");
        assert_eq!(error.errno(), Errno::EINVAL);
    }

    #[test]
    fn entering_leaves_the_caller_where_it_was() {
        let here = Netns::current().expect("own namespace");
        let there = here.enter(|| Netns::current().map(|n| n.id()));
        assert_eq!(there, Ok(here.id()));
        assert_eq!(Netns::current().expect("own namespace").id(), here.id());
    }
}
