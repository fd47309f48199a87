//! A container as wharf knows it: one folder, made before anything else of it, below /run for those that are removed when
//! they end, below /var/lib for those that stay. `create` defines one; every command reads them.
//! It must never need a lock across containers, and never believe a file over a lock or the kernel.

pub(crate) mod life;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wharf_protocol::{Claim, Holder, Orders, Status, clock, file, write_atomically};
use wharfline_spec::{ContainerId, IfName, NetworkName};

use crate::error::{Error, Result};
use crate::home::{Home, boot_id};
use crate::ulimits::Ulimit;

/// Version of container.json; one that this wharf does not know is left alone.
const VERSION: u32 = 1;
/// Folders that are being made, or removed, begin with it: they are not containers.
const DRAFT_PREFIX: &str = ".new-";

/// The contents of `container.json`: what was asked for. It changes by rename, update, connect and disconnect only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    version: u32,
    /// 64 hexadecimal digits.
    pub(crate) id: ContainerId,
    /// The name that the user gave, or the id's first twelve digits.
    pub(crate) name: String,
    /// When it was made, for people.
    pub(crate) created: String,
    /// The same, in seconds since 1970.
    pub(crate) created_at: u64,
    /// The boot that it was made in.
    pub(crate) boot_id: String,
    /// Where its network namespace is kept; none if it has the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) netns: Option<PathBuf>,
    #[serde(flatten)]
    pub(crate) wish: Wish,
}

/// What the user wants of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Whether it is removed when it ends.
    pub(crate) remove: bool,
    /// The image as it was named.
    pub(crate) image: String,
    /// The image's id, `sha256:...`; none if the container is over a folder of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image_id: Option<String>,
    /// The root filesystem, absolute. Over an image it is mounted there from the container's start to its end.
    pub(crate) rootfs: PathBuf,
    pub(crate) process: Process,
    /// Its name for itself; without one, the beginning of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hostname: Option<String>,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<Mount>,
    /// Ports that `-P` publishes, as `80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exposed: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// How it is connected.
    pub(crate) mode: Mode,
    /// The container whose network namespace it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) joined: Option<ContainerId>,
    /// Its interfaces, in the order of their making.
    pub(crate) attachments: Vec<Attachment>,
    /// Further names in /etc/hosts.
    #[serde(default)]
    pub(crate) names: Names,
    /// What the shim obeys: restart policy, health check, another runtime.
    #[serde(flatten)]
    pub(crate) orders: Orders,
}

/// The command, and what it finds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// How many of the words are the entrypoint.
    #[serde(default)]
    pub(crate) entrypoint_words: usize,
    /// `NAME=value`, after PATH, HOSTNAME and HOME.
    #[serde(default)]
    pub(crate) env: Vec<String>,
    /// `USER[:GROUP]`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workdir: Option<PathBuf>,
    /// Whether it gets a terminal.
    #[serde(default)]
    pub(crate) terminal: bool,
    /// Whether its stdin stays open.
    #[serde(default)]
    pub(crate) interactive: bool,
    /// The signal that asks it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    /// How long it then has, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_timeout: Option<u64>,
}

/// What it may have and do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// The root filesystem can't be written.
    pub(crate) read_only: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    /// Whether no program may gain privileges (PR_SET_NO_NEW_PRIVS).
    pub(crate) no_new_privileges: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) resources: Resources,
    /// Limits of each process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ulimits: Vec<Ulimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oom_score_adj: Option<i32>,
}

/// Limits by control groups.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    /// Thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) millicpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) blkio: Vec<Blkio>,
}

/// A limit of block devices' use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blkio {
    /// The key of the OCI `blockIO` object: `weight`, `throttleReadBpsDevice` and so on.
    pub(crate) key: String,
    /// Major and minor number of the device; none for the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<(u64, u64)>,
    pub(crate) value: u64,
}

/// A device of the host's that the container gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Its path in the container.
    pub(crate) path: PathBuf,
    /// `c` or `b`.
    pub(crate) kind: String,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// Of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// Something that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mount {
    pub(crate) target: PathBuf,
    pub(crate) kind: MountKind,
    /// In the words of mount(8).
    pub(crate) options: Vec<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MountKind {
    /// A file or folder of the host's.
    Bind(PathBuf),
    /// A volume by its name; one without a name goes with its container.
    Volume {
        name: String,
        anonymous: bool,
        /// Who keeps it; without one it is a folder of wharf's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        driver: Option<VolumeDriver>,
    },
    /// Memory.
    Tmpfs,
}

/// A program that keeps volumes, by Docker's protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeDriver {
    pub(crate) name: String,
    /// What it is told when it makes the volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, String>,
}

impl VolumeDriver {
    /// The driver of that name, which is told nothing.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: BTreeMap::new(),
        }
    }
}

/// Names in a container's /etc/hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Names {
    /// `--link`: a container, and the name that it has here.
    pub(crate) links: Vec<(String, String)>,
    /// `--add-host`.
    pub(crate) hosts: Vec<(String, IpAddr)>,
    /// `--dns`.
    pub(crate) servers: Vec<IpAddr>,
}

/// How a container is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// A namespace of its own with a loopback interface only.
    None,
    /// The host's namespace.
    Host,
    /// A namespace of its own, attached to networks.
    Networks,
    /// Another container's namespace.
    Joined,
}

/// One interface of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The network; its configuration at that time is beside this file (see [`Folder::conflist`]).
    pub(crate) network: NetworkName,
    /// The interface's name in the container.
    pub(crate) ifname: IfName,
    /// What the capabilities of the network's plugins are told (CNI conventions: `portMappings` and so on).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) capabilities: Map<String, Value>,
    /// Pairs for CNI_ARGS, for plugins that declare no capability for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<(String, String)>,
    /// Which default route it gets among the container's.
    #[serde(default)]
    pub(crate) gateway: Rank,
}

/// The place of an interface's default route among those of a container: see `gateway`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rank {
    /// What was asked for; the highest has the gateway.
    pub(crate) priority: i32,
    /// Among equals the lowest has it: they are numbered as they come.
    pub(crate) turn: u32,
}

/// A new container's identity: 256 random bits, as Docker's.
pub(crate) fn new_id() -> Result<ContainerId> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 32];
    fs::File::open(path)
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(Error::file("read", path))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ContainerId::new(&digits)?)
}

impl Container {
    /// The first twelve digits of the id, which is how people meet it.
    pub(crate) fn short_id(&self) -> &str {
        let id = self.id.as_str();
        id.get(..12).unwrap_or(id)
    }

    /// Makes the container's folder with `container.json` in it, claimed for this process from its first moment.
    pub(crate) fn define(
        home: &Home,
        name: Option<String>,
        mut wish: Wish,
    ) -> Result<(Container, Folder, Claim)> {
        let id = new_id()?;
        if wish.image_id.is_some() {
            let store = wharf_image::Store::new(home.lib());
            wish.rootfs = wharf_image::Root::mountpoint_of(&store, id.as_str());
        }
        let short: String = id.as_str().chars().take(12).collect();
        let now = clock::now();
        let netns = match (wish.mode, &wish.joined) {
            (Mode::Host, _) => None,
            (Mode::Joined, Some(other)) => Some(home.netns(other.as_str())),
            _ => Some(home.netns(id.as_str())),
        };
        let container = Container {
            version: VERSION,
            name: name.unwrap_or(short),
            created: clock::rfc3339(now),
            created_at: now,
            boot_id: boot_id()?,
            netns,
            id,
            wish,
        };
        let parent = home.containers(!container.wish.remove);
        let folder = Folder {
            path: parent.join(container.id.as_str()),
            kept: !container.wish.remove,
        };
        let claim = folder.make(&container)?;
        Ok((container, folder, claim))
    }

    /// Whether its network namespace is its own.
    pub(crate) fn owns_netns(&self) -> bool {
        matches!(self.wish.mode, Mode::None | Mode::Networks)
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Malformed {
        path: path.to_owned(),
        source,
    })?;
    text.push(b'\n');
    write_atomically(path, &text).map_err(Error::file("write", path))
}

/// A container's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the container stays when it has ended.
    pub(crate) fn kept(&self) -> bool {
        self.kept
    }

    fn make(&self, container: &Container) -> Result<Claim> {
        let draft = self.draft();
        let parent = draft.parent().unwrap_or(&draft);
        // A container's environment may hold secrets, and its control socket obeys whoever can open it.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(Error::file("create", parent))?;
        fs::create_dir(&draft).map_err(Error::file("create", &draft))?;
        let claim = Claim::take(&draft, Holder::Wharf)
            .map_err(Error::file("lock", &draft))?
            .ok_or_else(|| Error::Busy(container.name.clone()))?;
        write_json(&draft.join(file::CONTAINER), container)?;
        // Named last: nobody sees the folder without its file, or without this process's claim.
        fs::rename(&draft, &self.path).map_err(Error::file("name", &self.path))?;
        Ok(claim)
    }

    /// Replaces `container.json`. The caller holds the claim.
    pub(crate) fn rewrite(&self, container: &Container) -> Result<()> {
        write_json(&self.path.join(file::CONTAINER), container)
    }

    /// Where the folder is while it is no container yet, or no longer one.
    pub(crate) fn draft(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_start_matches(DRAFT_PREFIX);
        self.path.with_file_name(format!("{DRAFT_PREFIX}{name}"))
    }

    /// The configuration of the network that `ifname` was attached to, as it was then: DEL needs that one.
    pub(crate) fn conflist(&self, ifname: &IfName) -> PathBuf {
        self.path.join(format!("network-{ifname}.conflist"))
    }

    /// A file that is mounted into the container: hosts, hostname or resolv.conf.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads `container.json`.
    pub(crate) fn container(&self) -> Result<Container> {
        let path = self.path.join(file::CONTAINER);
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Malformed { path, source })
    }

    /// The shim's last word.
    pub(crate) fn status(&self) -> Result<Option<Status>> {
        Status::read(&self.path).map_err(Error::file("read the status in", &self.path))
    }
}

/// The folders of all containers, and of those that never got a name, oldest id first.
pub(crate) fn folders(home: &Home) -> Result<(Vec<Folder>, Vec<Folder>)> {
    let mut all = Vec::new();
    for kept in [false, true] {
        let dir = home.containers(kept);
        let entries = match fs::read_dir(&dir) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::file("list", &dir))?,
        };
        for entry in entries {
            let path = entry.map_err(Error::file("list", &dir))?.path();
            all.push(Folder { path, kept });
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    let is_draft = |folder: &Folder| {
        let name = folder.path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(DRAFT_PREFIX)
    };
    let (drafts, named) = all.into_iter().partition(is_draft);
    Ok((named, drafts))
}

/// Every container whose file can be read, with its folder.
pub(crate) fn all(home: &Home) -> Result<Vec<(Container, Folder)>> {
    let (named, _) = folders(home)?;
    let readable = |folder: Folder| folder.container().ok().map(|about| (about, folder));
    Ok(named.into_iter().filter_map(readable).collect())
}

/// The one container of that name, id, or beginning of an id.
pub(crate) fn find(home: &Home, wanted: &str) -> Result<(Container, Folder)> {
    let mut candidates = all(home)?;
    if let Some(at) = candidates
        .iter()
        .position(|(about, _)| about.name == wanted || about.id.as_str() == wanted)
    {
        return Ok(candidates.swap_remove(at));
    }
    candidates.retain(|(about, _)| about.id.as_str().starts_with(wanted));
    match candidates.len() {
        1 => Ok(candidates.swap_remove(0)),
        0 => Err(Error::NoSuchContainer(wanted.to_owned())),
        _ => Err(Error::AmbiguousContainer(wanted.to_owned())),
    }
}
