//! Namespaces for the nftables tests: the test's thread becomes the host, others are handles to enter.
//! A handle keeps its namespace alive; dropping it takes links and rules with it.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Output};

use nix::sched::{CloneFlags, setns, unshare};
use wharfline_kernel::nft::{Element, Nft, Protocol, Table, Tag};

/// Moves the calling thread into a new namespace and brings up its loopback.
pub(crate) fn become_host() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    run("ip link set lo up");
}

/// Another namespace: an outside machine, a container.
pub(crate) struct Space {
    file: File,
}

impl Space {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            become_host();
            File::open("/proc/thread-self/ns/net").expect("its handle")
        });
        Self {
            file: made.join().expect("a namespace"),
        }
    }

    /// A path that other processes can open.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `work` on a thread inside.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("enter it");
                work()
            });
            entered.join().expect("work inside")
        })
    }

    pub(crate) fn run(&self, script: &str) -> String {
        self.enter(|| run(script))
    }
}

/// Runs a shell script in the thread's namespace; its output, or a panic with what it said.
pub(crate) fn run(script: &str) -> String {
    let output = try_run(script);
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn try_run(script: &str) -> Output {
    Command::new("sh")
        .args(["-ec", script])
        .output()
        .expect("a shell")
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn tag(container: &str) -> Tag {
    Tag::attachment("web", container, "eth0")
}

/// A TCP port published on every address.
pub(crate) fn published(port: u16, to: &str) -> Element {
    Element::Published {
        protocol: Protocol::Tcp,
        host: None,
        port,
        to: address(to),
        conditions: None,
    }
}

/// The host's socket, with the main table laid.
pub(crate) fn laid() -> Nft {
    let mut nft = Nft::open().expect("a socket");
    assert!(nft.lay(&Table::Main, &[]).expect("laid"));
    nft
}
