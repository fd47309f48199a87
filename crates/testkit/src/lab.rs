//! A throwaway host: its own network, mounts, /run and /var/lib, held by this value and by nothing else.
//!
//! Called first by every test on a real kernel. No holder process exists: the namespaces live as long as our
//! descriptors, so even a test binary that is killed leaves nothing on the machine.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::namespace::{Entrance, Namespace, bind_mount};
use crate::process::Output;
use crate::wait::wait_for;
use crate::world::World;
use crate::{Outside, process};

/// Directories that a lab has to itself: empty at first, gone with it.
pub(crate) const PRIVATE: [&str; 3] = ["/run", "/var/lib", "/etc/cni"];

/// Where the kernel says which boot this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A host of its own, for one test.
pub struct Lab {
    entrance: Entrance,
    host: Namespace,
    root: OwnedFd,
}

impl Default for Lab {
    fn default() -> Self {
        Lab::new()
    }
}

impl Lab {
    /// Makes the host: `lo` up, forwarding off, no other link, empty /run, /var/lib and /etc/cni.
    ///
    /// # Panics
    ///
    /// Without CAP_SYS_ADMIN, which all of this needs.
    pub fn new() -> Lab {
        let (entrance, root) = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
                .expect("unshare mounts and network (the tests on a real kernel run as root)");
            make_mounts_private();
            let root = File::open("/").expect("open the lab's root");
            (Entrance::here(), OwnedFd::from(root))
        })
        .join()
        .expect("set a lab up");
        let lab = Lab {
            host: Namespace::host(entrance.clone()),
            entrance,
            root,
        };
        lab.settle_network();
        lab
    }

    /// The state of the network that every lab starts from, whatever the machine's own defaults are.
    fn settle_network(&self) {
        self.host.ip("link set lo up");
        self.host.run(|| {
            for (key, value) in [
                ("ipv4/ip_forward", "0"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv6/conf/all/forwarding", "0"),
            ] {
                std::fs::write(format!("/proc/sys/net/{key}"), value).expect("write a sysctl");
            }
        });
    }

    /// The host's own network namespace.
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// A new, empty network namespace under /run/netns, as a runtime makes for a container (`lo` is down).
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::create(&self.entrance, name)
    }

    /// The world outside: a namespace linked to the host, the host's default route through it.
    pub fn outside(&self) -> Outside {
        Outside::beyond(self)
    }

    /// Runs a program on the host to its end, and returns what it printed; see [`Namespace::exec`].
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> String {
        self.host.exec(argv)
    }

    /// As [`Lab::exec`], with standard input, and failure left to the caller.
    pub fn try_exec(&self, argv: &[&str], stdin: &str) -> Output {
        self.host.try_exec(argv, stdin)
    }

    /// A command that runs on the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.entrance.command(program)
    }

    /// Runs a prepared command to its end with something on standard input.
    pub fn run_command(&self, command: Command, stdin: &[u8]) -> Output {
        process::run(command, stdin)
    }

    /// Runs `work` on a thread of its own on the host, with the lab's mounts.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.entrance.run(work)
    }

    /// Where an absolute path of the lab is for the test itself, which stays outside.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let below = inside.as_ref();
        let below = below.strip_prefix("/").unwrap_or(below);
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd())).join(below)
    }

    /// Everything that a plugin could have changed on the host; see [`World`].
    pub fn world(&self) -> World {
        World::of(self, &[])
    }

    /// The host and the given namespaces.
    pub fn world_with(&self, namespaces: &[&Namespace]) -> World {
        World::of(self, namespaces)
    }

    /// What a reboot does to the files: /run is empty, the boot id is another. Kernel objects are the test's to remove.
    pub fn forget_boot(&self) {
        self.enter(|| {
            umount2("/run", MntFlags::MNT_DETACH).expect("unmount /run");
            mount_tmpfs(Path::new("/run"));
            fill_run();
            // The boot before may be such a mount; nothing can be mounted over one whose file has no name.
            let _ = umount2(BOOT_ID, MntFlags::MNT_DETACH);
            let another =
                std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("read a random id");
            std::fs::write("/run/boot_id", another).expect("write another boot id");
            bind_mount(Path::new("/run/boot_id"), Path::new(BOOT_ID));
            // The mount keeps the file; its name would only be in the way.
            std::fs::remove_file("/run/boot_id").expect("remove the boot id's name");
        });
    }

    /// Covers `directory` of the lab with a file system of `size` bytes, to fill or to make read-only.
    pub fn mount_small(&self, directory: &str, size: usize) {
        self.enter(|| {
            std::fs::create_dir_all(directory).expect("create a mount point");
            let options = format!("mode=755,size={size}");
            mount(
                Some("tmpfs"),
                directory,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(options.as_str()),
            )
            .unwrap_or_else(|e| panic!("mount a small tmpfs on {directory}: {e}"));
        });
    }

    /// Makes the mount at `directory` (a lab's private directory or [`Lab::mount_small`]) read-only.
    pub fn remount_read_only(&self, directory: &str) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let none = None::<&str>;
        // The kernel closes what processes had open to write a little after their end (fput is delayed work).
        wait_for(
            "nobody to have a file open to write",
            Duration::from_secs(5),
            || {
                let made = self.enter(|| mount(none, directory, none, flags, none));
                made.map_err(|e| format!("make {directory} read-only: {e}"))
            },
        );
    }

    /// Ids of the processes that run with this lab's mounts.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let ours = self.enter(|| std::fs::read_link("/proc/thread-self/ns/mnt"));
        let ours = ours.expect("read the lab's mount namespace");
        let numbered = |name: &OsStr| name.to_str().and_then(|n| n.parse::<u32>().ok());
        std::fs::read_dir("/proc")
            .expect("list /proc")
            .filter_map(|entry| numbered(&entry.ok()?.file_name()))
            .filter(|pid| {
                std::fs::read_link(format!("/proc/{pid}/ns/mnt"))
                    .ok()
                    .as_ref()
                    == Some(&ours)
            })
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Daemons that a client left (a containerd shim) keep the namespaces alive: end whatever still runs inside.
        for pid in self.processes() {
            process::kill(pid);
        }
        wait_for(
            "the lab's processes to end",
            Duration::from_secs(5),
            || match self.processes().len() {
                0 => Ok(()),
                n => Err(format!("{n} still run")),
            },
        );
    }
}

/// Private propagation, and the lab's own empty directories.
fn make_mounts_private() {
    let none = None::<&str>;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, flags, none).expect("make mounts private");
    for directory in PRIVATE.map(Path::new) {
        if directory.exists() {
            mount_tmpfs(directory);
        }
    }
    fill_run();
}

/// The directories that an init system makes there.
fn fill_run() {
    for directory in ["/run/netns", "/run/lock"] {
        std::fs::create_dir_all(directory).unwrap_or_else(|e| panic!("create {directory}: {e}"));
    }
}

fn mount_tmpfs(directory: &Path) {
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .unwrap_or_else(|e| panic!("mount a tmpfs on {}: {e}", directory.display()));
}
