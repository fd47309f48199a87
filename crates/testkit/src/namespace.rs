//! A network namespace held open by a descriptor, and the two ways into it: a thread of our own, or a process.
//!
//! Called by the lab and by every test. The caller's own thread never moves, so no test can forget the way back.

#![expect(
    unsafe_code,
    reason = "a child enters its namespaces between fork and exec"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::process::{self, Output};

/// The descriptors that lead into a lab: its mounts, and one network namespace.
#[derive(Clone)]
pub(crate) struct Entrance {
    net: Arc<OwnedFd>,
    mounts: Arc<OwnedFd>,
}

impl Entrance {
    /// The namespaces of the calling thread, which a lab's first thread has just unshared.
    pub(crate) fn here() -> Entrance {
        Entrance {
            net: Arc::new(open("/proc/thread-self/ns/net")),
            mounts: Arc::new(open("/proc/thread-self/ns/mnt")),
        }
    }

    /// The same mounts with the calling thread's network namespace.
    fn with_net_of_this_thread(&self) -> Entrance {
        Entrance {
            net: Arc::new(open("/proc/thread-self/ns/net")),
            mounts: Arc::clone(&self.mounts),
        }
    }

    /// Moves the calling thread. Only for a thread or a forked child that ends here.
    pub(crate) fn enter(&self) -> nix::Result<()> {
        // A thread that shares its root and working directory with others may not change its mount namespace (setns(2)).
        unshare(CloneFlags::CLONE_FS)?;
        setns(self.mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)
    }

    /// Runs `work` on a thread of its own inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter().expect("enter the lab");
                work()
            });
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command whose process enters before it becomes `program`, and dies with the calling thread.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let entrance = self.clone();
        let enter = move || {
            entrance.enter()?;
            set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes three system calls on descriptors that it owns; it neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(enter) };
        command
    }
}

fn open(path: &str) -> OwnedFd {
    File::open(path)
        .unwrap_or_else(|e| panic!("open {path}: {e}"))
        .into()
}

/// A network namespace with a name under the lab's /run/netns, as `ip netns` makes them.
///
/// Dropping it unmounts the name; the kernel ends the namespace once nothing else holds it.
pub struct Namespace {
    name: String,
    entrance: Entrance,
    path: Option<PathBuf>,
}

impl Namespace {
    /// The lab's host itself, which has no file.
    pub(crate) fn host(entrance: Entrance) -> Namespace {
        Namespace {
            name: "host".to_owned(),
            entrance,
            path: None,
        }
    }

    /// Makes a new one in the lab that `host` leads into, bound to /run/netns/`name`.
    pub(crate) fn create(host: &Entrance, name: &str) -> Namespace {
        let path = PathBuf::from(format!("/run/netns/{name}"));
        let entrance = host.run(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare a network namespace");
            File::create_new(&path).expect("create the namespace's file");
            bind_mount(Path::new("/proc/thread-self/ns/net"), &path);
            host.with_net_of_this_thread()
        });
        Namespace {
            name: name.to_owned(),
            entrance,
            path: Some(path),
        }
    }

    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What CNI_NETNS says; valid inside the lab.
    ///
    /// # Panics
    ///
    /// For the lab's host, which no runtime would hand to a plugin by such a path.
    pub fn path(&self) -> &str {
        let path = self
            .path
            .as_deref()
            .expect("the host's namespace has no file");
        path.to_str().expect("namespace names are ASCII")
    }

    /// Runs `work` on a thread of its own inside; its panic becomes the caller's.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.entrance.run(work)
    }

    /// A command that runs inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entrance.command(program)
    }

    /// Runs a program inside to its end, and returns what it printed.
    ///
    /// # Panics
    ///
    /// If it can't be started or fails; the message holds its standard error.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> String {
        let output = self.try_exec(argv, "");
        assert!(
            output.succeeded(),
            "{} in namespace {}: {output}",
            argv.join(" "),
            self.name
        );
        output.stdout
    }

    /// As [`Namespace::exec`], with something to read on standard input, and failure left to the caller.
    pub fn try_exec(&self, argv: &[&str], stdin: &str) -> Output {
        let mut command = self.command(argv[0]);
        command.args(&argv[1..]);
        process::run(command, stdin.as_bytes())
    }

    /// Runs lines of `ip -batch`, one process for all of them.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        let output = self.try_exec(&["ip", "-batch", "-"], lines);
        assert!(
            output.succeeded(),
            "ip in namespace {}: {output}\n{lines}",
            self.name
        );
    }

    /// The value of a sysctl, given as its path below /proc/sys (`net/ipv4/ip_forward`), without the newline.
    pub fn sysctl(&self, key: &str) -> Option<String> {
        let read = || std::fs::read_to_string(format!("/proc/sys/{key}"));
        Some(self.run(read).ok()?.trim_end().to_owned())
    }

    /// Sets a sysctl of this namespace.
    #[track_caller]
    pub fn set_sysctl(&self, key: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/{key}"), value))
            .unwrap_or_else(|e| panic!("set {key} to {value} in {}: {e}", self.name));
    }

    /// Device and inode of the namespace, which is its identity (namespaces(7)).
    pub fn identity(&self) -> (u64, u64) {
        let stat = nix::sys::stat::fstat(self.entrance.net.as_fd()).expect("stat a namespace");
        (stat.st_dev, stat.st_ino)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        self.entrance.run(|| {
            // Both may have been taken away by the test itself (a reboot, a namespace that vanishes).
            let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(path);
        });
    }
}

/// Binds `source` onto `target` in the calling thread's mount namespace.
pub(crate) fn bind_mount(source: &Path, target: &Path) {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|e| panic!("bind {} to {}: {e}", source.display(), target.display()));
}
