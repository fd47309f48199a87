//! The machine that the benchmarks run on: hosts and containers as network namespaces, with mounts of their own.
//! Every case makes its hosts and containers here; `main` goes in first.
//! It must never touch the namespaces that the program was started in, nor leave anything outside of its own.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Context, Result};

/// Where the names of the containers' namespaces are, as `ip netns` has them.
const NAMES: &str = "/run/netns";

/// Directories that must be empty at first, and gone with the program: run-time state and leases.
const PRIVATE: [&str; 2] = ["/run", "/var/lib"];

/// A host's way out.
pub(crate) const UPLINK: &str = "uplink0";

/// The calling thread's own namespace.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// The program's own mounts and, until a host is entered, its own network.
#[derive(Debug, Default)]
pub(crate) struct Lab {
    containers: Cell<u32>,
}

impl Lab {
    /// Leaves the namespaces that the program was started in. To be called while it has one thread.
    ///
    /// # Errors
    /// EPERM for who is not root, and what mount(2) says.
    pub(crate) fn enter() -> Result<Lab> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context(|| "leave the machine's namespaces (run as root)".to_owned())?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)
            .context(|| "make the mounts private".to_owned())?;
        for directory in PRIVATE {
            mount(
                Some("tmpfs"),
                directory,
                Some("tmpfs"),
                MsFlags::empty(),
                none,
            )
            .context(|| format!("mount a tmpfs on {directory}"))?;
        }
        fs::create_dir(NAMES).context(|| format!("create {NAMES}"))?;
        Ok(Lab::default())
    }

    /// A host with an uplink and a default route, as hosts have.
    pub(crate) fn host(&self) -> Result<Host> {
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context(|| "make a host".to_owned())?;
            File::open(CURRENT).context(|| format!("open {CURRENT}"))
        })?;
        let host = Host {
            namespace: Rc::new(namespace),
        };
        host.enter()?;
        ip(
            "link set lo up; link add uplink0 type veth peer name outside0; link set outside0 up; \
             link set uplink0 up; addr add 192.0.2.2/24 dev uplink0; route add default via 192.0.2.1",
        )?;
        Ok(host)
    }

    /// A container: an empty network namespace with a name.
    pub(crate) fn container(&self) -> Result<Container> {
        let number = self.containers.get() + 1;
        self.containers.set(number);
        // As long as the ids of real runtimes, since plugins hash them and write them down.
        let name = format!("{number:064x}");
        let netns = Path::new(NAMES).join(format!("c{number}"));
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context(|| "make a container".to_owned())?;
            File::create(&netns).context(|| format!("create {}", netns.display()))?;
            let none = None::<&str>;
            mount(Some(CURRENT), &netns, none, MsFlags::MS_BIND, none)
                .context(|| format!("name a namespace {}", netns.display()))
        })?;
        Ok(Container {
            number,
            name,
            netns,
        })
    }

    /// Several of them.
    pub(crate) fn containers(&self, count: usize) -> Result<Vec<Container>> {
        (0..count).map(|_| self.container()).collect()
    }
}

/// The network of a host.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    namespace: Rc<File>,
}

impl Host {
    /// Moves the calling thread there: processes that it starts are on that host.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&*self.namespace, CloneFlags::CLONE_NEWNET).context(|| "enter a host".to_owned())
    }
}

/// A network namespace for a container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Of all containers of this run, from 1.
    pub(crate) number: u32,
    /// CNI_CONTAINERID.
    pub(crate) name: String,
    /// CNI_NETNS.
    pub(crate) netns: PathBuf,
}

impl Container {
    /// Runs `work` on a thread of its own inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            let file = File::open(&self.netns).context(|| "open a container".to_owned())?;
            setns(&file, CloneFlags::CLONE_NEWNET).context(|| "enter a container".to_owned())?;
            work()
        })
    }

    /// Fails unless `eth0` is there (or is not), whatever the process that was to see to it says.
    pub(crate) fn require_link(&self, wanted: bool) -> Result<()> {
        let links = self.run(|| {
            fs::read_to_string("/proc/thread-self/net/dev")
                .context(|| "list a container's links".to_owned())
        })?;
        let found = links
            .lines()
            .any(|line| line.trim_start().starts_with("eth0:"));
        if found == wanted {
            return Ok(());
        }
        let state = if found { "still has" } else { "lacks" };
        Err(format!("container {} {state} eth0", self.number).into())
    }
}

/// Runs `ip` with some commands, separated by semicolons, on the host entered last.
pub(crate) fn ip(commands: &str) -> Result<()> {
    for command in commands.split(';') {
        let status = Command::new("ip").args(command.split_whitespace()).status();
        let status = status.context(|| "start ip".to_owned())?;
        if !status.success() {
            return Err(format!("ip {command}: {status}").into());
        }
    }
    Ok(())
}

/// For what moves a thread to another namespace: one that ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let finished = thread::scope(|scope| scope.spawn(work).join());
    finished.unwrap_or_else(|_| Err("a thread of the lab panicked".into()))
}
