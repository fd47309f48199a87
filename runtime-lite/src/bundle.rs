//! The OCI bundle of a container: `config.json` for libcontainer (or any other OCI runtime) beside `container.json`.
//! `start` writes it before each start of the shim.
//! It must never ask for more than the container needs: defaults are Docker's.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::statfs;
use serde_json::{Value, json};
use wharf_protocol::{file, write_atomically};

use crate::accounts::{self, Account};
use crate::container::{Container, Folder, Process};
use crate::error::{Error, Result};
use crate::volume::Sources;
use crate::{capabilities, limits, mounts, seccomp, ulimits, wish};

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

/// What a bundle is made of besides the container's definition.
pub(crate) struct Ground<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) hostname: &'a str,
    /// The root filesystem as it is mounted now.
    pub(crate) rootfs: &'a Path,
    pub(crate) sources: &'a Sources,
}

/// Writes the bundle's configuration into the container's folder; returns whom the command runs as.
pub(crate) fn write(container: &Container, ground: &Ground<'_>) -> Result<Account> {
    let path = ground.folder.path().join(file::BUNDLE);
    let account = accounts::find(ground.rootfs, container.wish.process.user.as_deref())?;
    let document = compose(container, ground, &account)?;
    write_atomically(&path, document.to_string().as_bytes()).map_err(Error::file("write", path))?;
    Ok(account)
}

/// Whether the host's control groups are those of version 2 alone.
pub(crate) fn unified() -> bool {
    statfs("/sys/fs/cgroup").is_ok_and(|about| about.filesystem_type().0 == CGROUP2)
}

fn compose(container: &Container, ground: &Ground<'_>, account: &Account) -> Result<Value> {
    let unified = unified();
    let limits = &container.wish.limits;
    // On cgroup v2 device rules are BPF programs, which libcontainer is built without.
    if unified && !limits.devices.is_empty() && container.wish.orders.runtime.is_none() {
        return Err(Error::NoDeviceRules);
    }
    let capabilities = capabilities::set(&limits.cap_add, &limits.cap_drop, !unified)?;
    let mut linux = json!({
        "cgroupsPath": format!("{CGROUP_PARENT}/{}", container.id),
        "namespaces": namespaces(container, unified),
        "devices": limits::oci_devices(&limits.devices),
        "resources": limits::oci(&limits.resources, device_rules(unified, container)),
        "seccomp": seccomp::profile(&capabilities),
        "maskedPaths": MASKED,
        "readonlyPaths": read_only(unified),
    });
    if container.owns_netns() {
        // Root in the container is root of its own namespace: ports below 1024 are nobody's privilege there.
        linux["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "0"});
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": ground.hostname,
        "root": {"path": ground.rootfs, "readonly": limits.read_only},
        "process": process(container, ground, account, &capabilities)?,
        "mounts": mounts(container, ground),
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

fn process(
    container: &Container,
    ground: &Ground<'_>,
    account: &Account,
    capabilities: &[&str],
) -> Result<Value> {
    let asked = &container.wish.process;
    let cwd = asked.workdir.clone().unwrap_or_else(|| PathBuf::from("/"));
    let mut process = json!({
        "terminal": asked.terminal,
        "user": user(account),
        "cwd": cwd,
        "args": asked.command,
        "env": environment(asked, ground, account),
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
    });
    let limits = &container.wish.limits;
    if limits.no_new_privileges {
        process["noNewPrivileges"] = true.into();
    }
    if !limits.ulimits.is_empty() {
        process["rlimits"] = ulimits::oci(&limits.ulimits)?.into();
    }
    if let Some(wanted) = limits.oom_score_adj {
        process["oomScoreAdj"] = ulimits::oci_oom_score_adj(wanted)?.into();
    }
    Ok(process)
}

/// The OCI `user` object.
pub(crate) fn user(account: &Account) -> Value {
    json!({"uid": account.uid, "gid": account.gid, "additionalGids": account.groups})
}

fn environment(asked: &Process, ground: &Ground<'_>, account: &Account) -> Vec<String> {
    let home = match &account.home {
        Some(home) => home.as_str(),
        None if account.uid == 0 && ground.rootfs.join("root").is_dir() => "/root",
        None => "/",
    };
    let mut variables = vec![
        PATH.to_owned(),
        format!("HOSTNAME={}", ground.hostname),
        format!("HOME={home}"),
    ];
    if asked.terminal {
        variables.push("TERM=xterm".to_owned());
    }
    variables.extend(asked.env.iter().cloned());
    wish::without_repetition(variables)
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

/// All devices denied but those that are given; libcontainer adds null, zero, full, random, urandom, tty and the terminals.
fn device_rules(unified: bool, container: &Container) -> Vec<Value> {
    if unified {
        return Vec::new();
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(limits::rules(&container.wish.limits.devices));
    rules
}

fn mounts(container: &Container, ground: &Ground<'_>) -> Vec<Value> {
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
    if ground.rootfs.join("etc").is_dir() {
        mounts.extend(ETC.map(|name| etc_mount(name, &ground.folder.etc(name))));
    }
    // Nearer the root first: a mount would hide one below it.
    let mut wanted: Vec<_> = container.wish.mounts.iter().collect();
    wanted.sort_by_key(|mount| mount.target.components().count());
    let replaced = |mount: &Value| {
        let target = mount["destination"].as_str().map(Path::new);
        wanted
            .iter()
            .any(|wanted| Some(wanted.target.as_path()) == target)
    };
    mounts.retain(|mount| !replaced(mount));
    mounts.extend(
        wanted
            .iter()
            .map(|mount| mounts::oci(ground.sources, mount)),
    );
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
