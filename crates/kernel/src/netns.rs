//! Network namespaces: opening, telling apart, and entering one for the time of a closure.
//! The engine opens the container's with it; tests build labs with it.
//! It must never leave a thread in another namespace than the one it came from.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{KernelError, Result};

/// The calling thread's own namespace, for who may not ask a socket. `/proc/self` would be the main thread's.
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

impl NetnsId {
    fn of(file: &Metadata) -> Self {
        Self {
            dev: file.dev(),
            ino: file.ino(),
        }
    }
}

/// An open network namespace, kept alive by its descriptor.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    id: NetnsId,
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
        let netns = Self::of(opened, path)?;
        // A file of another kind would only fail at setns(2), after work was done.
        if nsfs_type(&netns.file) != Some(CloneFlags::CLONE_NEWNET) {
            return Err(KernelError::new(tried(), Errno::EINVAL)
                .with_extack(Some("not a network namespace".into())));
        }
        Ok(netns)
    }

    /// The namespace of the calling thread.
    ///
    /// A socket of the thread's leads there. The first way through /proc makes the kernel set up the process's folders
    /// there: 0.03 ms, as long as all that a plugin reads of its configuration and notes.
    pub fn current() -> Result<Self> {
        let path = Path::new(CURRENT);
        match of_a_socket() {
            Ok(file) => Self::of(Ok(file), path),
            // SIOCGSKNS wants CAP_NET_ADMIN.
            Err(_) => Self::open(path),
        }
    }

    fn of(opened: std::io::Result<File>, path: &Path) -> Result<Self> {
        let identified = opened.and_then(|file| Ok((file.metadata()?, file)));
        let (meta, file) = identified.map_err(|e| {
            KernelError::from_io(format!("open network namespace {}", path.display()), &e)
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            id: NetnsId::of(&meta),
        })
    }

    /// Its identity while it lives.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The path it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside the namespace, on the calling thread, which is back home when this returns or unwinds.
    ///
    /// Errors: what setns(2) says (EPERM without CAP_SYS_ADMIN), or what `work` returns.
    pub fn enter<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let own = Self::current()?;
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let tried = format!("enter network namespace {}", self.path.display());
            KernelError::new(tried, errno)
        })?;
        let home = Home(own.file);
        let done = work();
        drop(home);
        done
    }
}

/// How often a thread tries to go home.
const RETURN_ATTEMPTS: u32 = 1000;

/// The namespace that a thread has left; dropping it takes the thread back there.
///
/// A thread of its own for each visit would need no way back. It costs a quarter of a millisecond where the processors
/// sleep, a tenth of a whole ADD; setns(2) there and back costs 0.01 ms.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        // It has just been left with the same privileges, so all that can be in the way is memory (ENOMEM).
        let is_back = |_| setns(&self.0, CloneFlags::CLONE_NEWNET).is_ok();
        if !(0..RETURN_ATTEMPTS).any(is_back) {
            // Whatever this thread did next would befall a container as if it were the host.
            std::process::abort();
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The identity of the calling thread's own namespace.
pub fn current_id() -> Result<NetnsId> {
    Ok(Netns::current()?.id())
}

/// The identity of the namespace at `path` without keeping it open; `None` where there is none.
pub fn identity(path: &Path) -> Option<NetnsId> {
    Netns::open(path).ok().map(|netns| netns.id())
}

/// The namespace in which the calling thread's sockets are born (ioctl_nsfs(2) has its relatives; sock_ioctl() in
/// net/socket.c).
fn of_a_socket() -> nix::Result<File> {
    const SIOCGSKNS: u64 = 0x894c;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    #[expect(
        unsafe_code,
        reason = "nix has no wrapper for this ioctl; JUSTIFICATION: the way through /proc costs ten times as much"
    )]
    // SAFETY: the request takes no argument and writes nothing; what it returns is a new descriptor (close-on-exec,
    // open_related_ns() in fs/nsfs.c) that nobody else owns.
    unsafe {
        let fd = Errno::result(nix::libc::ioctl(socket.as_raw_fd(), SIOCGSKNS))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Which kind of namespace a file is: ioctl_nsfs(2), `NS_GET_NSTYPE`.
fn nsfs_type(file: &File) -> Option<CloneFlags> {
    const NS_GET_NSTYPE: u64 = 0xb703;
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

    /// A namespace that is not the calling thread's.
    fn elsewhere() -> Netns {
        let made = std::thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            Netns::current().expect("its handle")
        });
        made.join().expect("a namespace")
    }

    #[test]
    fn work_is_done_inside_and_the_caller_is_back_afterwards() {
        let home = current_id().expect("own namespace");
        let there = elsewhere();
        assert_ne!(there.id(), home);
        assert_eq!(there.enter(current_id), Ok(there.id()));
        assert_eq!(current_id(), Ok(home));
        let refused: Result<()> = there.enter(|| Err(KernelError::new("work", Errno::EIO)));
        assert!(refused.is_err());
        assert_eq!(current_id(), Ok(home), "after an error");
    }

    #[test]
    fn a_panic_inside_takes_the_caller_home_too() {
        let home = current_id().expect("own namespace");
        let there = elsewhere();
        let caught = std::panic::catch_unwind(|| there.enter::<()>(|| panic!("inside")));
        assert!(caught.is_err());
        assert_eq!(current_id(), Ok(home));
    }
}
