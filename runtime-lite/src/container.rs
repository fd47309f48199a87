//! A container as wharf knows it: one folder below /run/wharfline/containers, made before anything else of it.
//! `run` defines one; `ps`, `remove`, `gc` and `network inspect` read them all.
//! It must never need a lock across containers, and never believe a file over a lock or the kernel.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wharf_protocol::{Claim, Holder, Phase, Status, file, write_atomically};
use wharfline_spec::{ContainerId, IfName, NetworkName};

use crate::clock;
use crate::error::{Error, Result};
use crate::home::{Home, boot_id};

/// Version of container.json; one that this wharf does not know is left alone.
const VERSION: u32 = 1;
/// Folders that are being made, or removed, begin with it: they are not containers.
const DRAFT_PREFIX: &str = ".new-";

/// The contents of `container.json`: what was asked for. It does not change during the container's life.
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
    /// The boot that it belongs to.
    pub(crate) boot_id: String,
    /// The root filesystem, absolute.
    pub(crate) rootfs: PathBuf,
    /// The command and its arguments.
    pub(crate) command: Vec<String>,
    /// How it is connected.
    pub(crate) mode: Mode,
    /// Where its network namespace is kept; none if it has the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) netns: Option<PathBuf>,
    /// Its interfaces, in the order of their making.
    pub(crate) attachments: Vec<Attachment>,
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
}

/// One interface of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The network; its configuration at that time is beside this file (see [`Folder::conflist`]).
    pub(crate) network: NetworkName,
    /// The interface's name in the container.
    pub(crate) ifname: IfName,
    /// What the capabilities of the network's plugins are told (CNI conventions: `portMappings` and so on).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) capabilities: Map<String, Value>,
}

/// What the user wants.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) id: ContainerId,
    pub(crate) name: Option<String>,
    pub(crate) rootfs: PathBuf,
    pub(crate) command: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) attachments: Vec<Attachment>,
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
        definition: Definition,
    ) -> Result<(Container, Folder, Claim)> {
        let short: String = definition.id.as_str().chars().take(12).collect();
        let now = clock::now();
        let container = Container {
            version: VERSION,
            name: definition.name.unwrap_or(short),
            created: clock::rfc3339(now),
            created_at: now,
            boot_id: boot_id()?,
            rootfs: definition.rootfs,
            command: definition.command,
            mode: definition.mode,
            netns: (definition.mode != Mode::Host).then(|| home.netns(definition.id.as_str())),
            attachments: definition.attachments,
            id: definition.id,
        };
        let folder = Folder(home.containers().join(container.id.as_str()));
        let draft = folder.draft();
        fs::create_dir_all(&draft).map_err(Error::file("create", &draft))?;
        let claim = Claim::take(&draft, Holder::Wharf)
            .map_err(Error::file("lock", &draft))?
            .ok_or_else(|| Error::NameTaken {
                name: container.name.clone(),
                id: container.id.to_string(),
            })?;
        let path = draft.join(file::CONTAINER);
        write_json(&path, &container)?;
        // Named last: nobody sees the folder without its file, or without this process's claim.
        fs::rename(&draft, folder.path()).map_err(Error::file("name", folder.path()))?;
        Ok((container, folder, claim))
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
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the folder is while it is no container yet, or no longer one.
    pub(crate) fn draft(&self) -> PathBuf {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_start_matches(DRAFT_PREFIX);
        self.0.with_file_name(format!("{DRAFT_PREFIX}{name}"))
    }

    /// The configuration of the network that `ifname` was attached to, as it was then: DEL needs that one.
    pub(crate) fn conflist(&self, ifname: &IfName) -> PathBuf {
        self.0.join(format!("network-{ifname}.conflist"))
    }

    /// A file that is mounted into the container: hosts, hostname or resolv.conf.
    pub(crate) fn etc(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads `container.json`.
    pub(crate) fn container(&self) -> Result<Container> {
        let path = self.0.join(file::CONTAINER);
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Malformed { path, source })
    }

    /// Where the container is in its life.
    pub(crate) fn life(&self) -> Result<Life> {
        let held = |holder| {
            Claim::held_by(&self.0, holder).map_err(Error::file("ask for the lock of", &self.0))
        };
        let status = self.status()?;
        if held(Holder::Shim)?.is_some() {
            return Ok(match status.as_ref().map(|status| status.phase) {
                Some(Phase::Running) => Life::Running,
                Some(Phase::Exited) => Life::Ending,
                Some(Phase::Created) | None => Life::Starting,
            });
        }
        Ok(match held(Holder::Wharf)? {
            Some(_) if status.is_some() => Life::Ending,
            Some(_) => Life::Starting,
            None => Life::Dead,
        })
    }

    /// The shim's last word.
    pub(crate) fn status(&self) -> Result<Option<Status>> {
        Status::read(&self.0).map_err(Error::file("read the status in", &self.0))
    }
}

/// Where a container is in its life, as the locks prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Being made.
    Starting,
    /// Its command runs.
    Running,
    /// Its command has ended, and it is being removed.
    Ending,
    /// Neither its shim nor a `wharf` looks after it: `wharf gc` removes it.
    Dead,
}

impl Life {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Life::Starting => "starting",
            Life::Running => "running",
            Life::Ending => "ending",
            Life::Dead => "dead",
        }
    }
}

/// The folders of all containers, and of those that never got a name, oldest id first.
pub(crate) fn folders(home: &Home) -> Result<(Vec<Folder>, Vec<Folder>)> {
    let dir = home.containers();
    let entries = match fs::read_dir(&dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok((vec![], vec![])),
        other => other.map_err(Error::file("list", &dir))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::file("list", &dir))?.path());
    }
    paths.sort();
    let is_draft = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(DRAFT_PREFIX))
    };
    let (drafts, named) = paths.into_iter().partition(is_draft);
    let folders = |paths: Vec<PathBuf>| paths.into_iter().map(Folder).collect();
    Ok((folders(named), folders(drafts)))
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
