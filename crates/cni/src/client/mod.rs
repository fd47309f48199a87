//! The runtime's side of CNI: what libcni is to containerd and podman.
//! Used by `wharf` and by the tests; the plugins are exec'd, never linked.
//! Must never send a plugin what its configuration does not ask for, nor lose the result of an ADD.

mod base64;
mod cache;
mod confdir;
mod list;
mod lock;

use std::path::PathBuf;

use serde_json::{Map, Value};
use wharfline_spec::cni::{CniError, Version};
use wharfline_spec::{ContainerId, IfName, NetworkName};

use crate::plugin::Verb;

pub use cache::CachedAttachment;
pub use confdir::{Found, load_all, load_file, load_network};

/// Where libcni keeps results, for containerd, podman and us alike.
pub const CACHE_DIR: &str = "/var/lib/cni";

/// A runtime: where plugins are found, and where results are kept.
#[derive(Debug, Clone)]
pub struct Client {
    path: Vec<PathBuf>,
    cache: cache::Cache,
}

impl Client {
    /// A runtime that finds plugins in `path` and keeps results below `cache_dir` ([`CACHE_DIR`]).
    pub fn new(path: Vec<PathBuf>, cache_dir: impl Into<PathBuf>) -> Client {
        Client {
            path,
            cache: cache::Cache::below(cache_dir.into()),
        }
    }
}

/// One attachment as the runtime wants it (CNI SPEC 1.1.0, "Attachment Parameters").
#[derive(Debug, Clone, PartialEq)]
pub struct Attach {
    /// The container.
    pub container: ContainerId,
    /// Path of its network namespace; `None` on DEL when it is gone.
    pub netns: Option<PathBuf>,
    /// The interface's name in the container.
    pub ifname: IfName,
    /// Pairs for `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments by capability (`portMappings`, `ips` and so on); each plugin gets those
    /// that it declares.
    pub capabilities: Map<String, Value>,
}

impl Attach {
    /// An attachment without arguments.
    #[must_use]
    pub fn new(container: ContainerId, netns: Option<PathBuf>, ifname: IfName) -> Attach {
        Attach {
            container,
            netns,
            ifname,
            args: Vec::new(),
            capabilities: Map::new(),
        }
    }
}

/// Why an operation of the runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A plugin refused; its error is as it gave it.
    #[error("plugin {plugin} of network {network} failed ({verb}): {error}")]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// The network.
        network: NetworkName,
        /// What it was asked.
        verb: Verb,
        /// What it answered.
        error: CniError,
    },
    /// The configuration's version has no such verb.
    #[error("network {network}: configuration version {version} does not support {verb}")]
    Unsupported {
        /// The network.
        network: NetworkName,
        /// Its version.
        version: Version,
        /// The verb.
        verb: Verb,
    },
    /// A configuration file cannot be used.
    #[error("{}: {error}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: CniError,
    },
    /// No configuration has the name.
    #[error("no network {name:?} in {}", .dir.display())]
    NoSuchNetwork {
        /// The name.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A file or a folder cannot be read or written.
    #[error("{tried} {}: {source}", .path.display())]
    Io {
        /// What was tried: "read", "write" and so on.
        tried: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A cached result cannot be used.
    #[error("cached result {}: {problem}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Several steps of a GC failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<ClientError>),
}

impl ClientError {
    fn io(tried: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> ClientError {
        ClientError::Io {
            tried,
            path: path.into(),
            source,
        }
    }
}
