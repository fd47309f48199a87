//! The OCI bundle of a container: `config.json` for libcontainer (or any other OCI runtime) beside `container.json`.
//! `run` writes it before the shim starts.
//! It must never ask for more than the container needs: defaults are Docker's.

use std::fs;
use std::path::Path;

use nix::sys::statfs::statfs;
use serde_json::{Value, json};
use wharf_protocol::{file, write_atomically};

use crate::container::{Container, Folder, Mode};
use crate::error::{Error, Result};
use crate::{capabilities, seccomp};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The parent of all containers' control groups.
pub(crate) const CGROUP_PARENT: &str = "/wharf";
/// CGROUP2_SUPER_MAGIC, include/uapi/linux/magic.h.
const CGROUP2: i64 = 0x6367_7270;

/// Hidden from the container: they show or change what is the host's.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Writes the bundle's configuration into the container's folder.
pub(crate) fn write(container: &Container, folder: &Folder, hostname: &str) -> Result<()> {
    let path = folder.path().join(file::BUNDLE);
    let document = compose(container, folder, hostname)?;
    write_atomically(&path, document.to_string().as_bytes()).map_err(Error::file("write", path))
}

fn compose(container: &Container, folder: &Folder, hostname: &str) -> Result<Value> {
    let unified = statfs("/sys/fs/cgroup").is_ok_and(|about| about.filesystem_type().0 == CGROUP2);
    // On cgroup v2 device rules are BPF programs, which libcontainer is built without.
    let capabilities = capabilities::default_set(!unified)?;
    let mut linux = json!({
        "cgroupsPath": format!("{CGROUP_PARENT}/{}", container.id),
        "namespaces": namespaces(container, unified),
        "resources": {"devices": device_rules(unified)},
        "seccomp": seccomp::profile(&capabilities),
        "maskedPaths": MASKED,
        "readonlyPaths": read_only(unified),
    });
    if container.mode != Mode::Host {
        // Root in the container is root of its own namespace: ports below 1024 are nobody's privilege there.
        linux["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0"});
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "root": {"path": container.rootfs, "readonly": false},
        "process": process(container, hostname, &capabilities),
        "mounts": mounts(container, folder),
        "linux": linux,
    }))
}

/// libcontainer mounts the hierarchies of cgroup v1 writable, whatever `mounts` says: each is made read-only by its path.
fn read_only(unified: bool) -> Vec<String> {
    let mut paths: Vec<String> = READ_ONLY.map(str::to_owned).to_vec();
    if !unified {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let hierarchies = hierarchies.flatten().map(|entry| entry.path());
        paths.extend(
            hierarchies
                .filter(|path| path.is_dir())
                .map(|path| path.display().to_string()),
        );
    }
    paths
}

fn process(container: &Container, hostname: &str, capabilities: &[&str]) -> Value {
    let home = match container.rootfs.join("root").is_dir() {
        true => "/root",
        false => "/",
    };
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": container.command,
        "env": [PATH, format!("HOSTNAME={hostname}"), format!("HOME={home}")],
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
    })
}

fn namespaces(container: &Container, unified: bool) -> Vec<Value> {
    let mut namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    if let Some(netns) = &container.netns {
        namespaces.push(json!({"type": "network", "path": netns}));
    }
    if unified {
        namespaces.push(json!({"type": "cgroup"}));
    }
    namespaces
}

/// All devices denied; libcontainer adds null, zero, full, random, urandom, tty and the terminals.
fn device_rules(unified: bool) -> Vec<Value> {
    match unified {
        true => vec![],
        false => vec![json!({"allow": false, "access": "rwm"})],
    }
}

fn mounts(container: &Container, folder: &Folder) -> Vec<Value> {
    let closed = ["nosuid", "noexec", "nodev"];
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let with = |more: &[&'static str]| [&closed[..], more].concat();
    let mut mounts = vec![
        mount("/proc", "proc", &closed),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/dev/shm", "tmpfs", &with(&["mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", &closed),
        mount("/sys", "sysfs", &with(&["ro"])),
        mount("/sys/fs/cgroup", "cgroup", &with(&["relatime", "ro"])),
    ];
    // A root filesystem without /etc (a single static binary) gets none for the sake of three files.
    if container.rootfs.join("etc").is_dir() {
        mounts.extend(ETC.map(|name| etc_mount(name, &folder.etc(name))));
    }
    mounts
}

/// The files that tell a container who and where it is.
pub(crate) const ETC: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

fn etc_mount(name: &str, source: &Path) -> Value {
    json!({
        "destination": format!("/etc/{name}"),
        "type": "bind",
        "source": source,
        "options": ["bind", "rprivate"],
    })
}
