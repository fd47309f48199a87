//! What a plugin is to its process boundary: a name and the five verbs.
//! Implemented once by every plugin; called by `boundary.rs` with requests that are already checked.
//! Must never have default bodies for verbs: a verb that was forgotten would report success.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use wharfline_spec::cni::{Args, CniError, CniResult, NetConf, Version, code};
use wharfline_spec::{ContainerId, IfName};

/// A CNI plugin.
///
/// Every verb may be called again after it succeeded or failed, by several processes at once.
pub trait Plugin {
    /// The plugin's type, which is its binary's name.
    fn name(&self) -> &'static str;

    /// The versions of the specification that it speaks.
    fn versions(&self) -> &'static [Version] {
        &Version::ALL
    }

    /// Makes the attachment and says what it made.
    ///
    /// # Errors
    /// The error that the runtime is to get; nothing is left behind then.
    fn add(&self, request: &Request) -> Result<CniResult, CniError>;

    /// Removes what ADD made; what is not there is removed already.
    ///
    /// # Errors
    /// What could not be removed, by name, after all else was.
    fn del(&self, request: &Request) -> Result<(), CniError>;

    /// Compares the attachment with what ADD made.
    ///
    /// # Errors
    /// Every difference, each by name.
    fn check(&self, request: &Request) -> Result<(), CniError>;

    /// Removes what belongs to attachments of this network and plugin that
    /// [`NetConf::valid_attachments`] does not list.
    ///
    /// # Errors
    /// What could not be removed, by name, after all else was.
    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError>;

    /// Says whether an ADD could be served now.
    ///
    /// # Errors
    /// Code 50 when it could not, 51 when existing containers may suffer too.
    fn status(&self, request: &NetworkRequest) -> Result<(), CniError>;
}

/// One request about one attachment: ADD, DEL or CHECK.
#[derive(Debug, Clone)]
pub struct Request {
    /// The verb.
    pub verb: Verb,
    /// The configuration.
    pub conf: NetConf,
    /// The container.
    pub container: ContainerId,
    /// Path of its network namespace. Always set for ADD and CHECK; `None` for DEL when the runtime
    /// has lost it.
    pub netns: Option<PathBuf>,
    /// The interface's name in the container.
    pub ifname: IfName,
    /// The pairs of `CNI_ARGS`.
    pub args: Args,
    /// `CNI_ARGS` as it was sent, for plugins that we call in turn.
    pub args_text: String,
    /// Where other plugins are found.
    pub path: Vec<PathBuf>,
}

impl Request {
    /// The network namespace, for verbs that cannot do without.
    ///
    /// # Errors
    /// Code 4 when `CNI_NETNS` is empty.
    pub fn netns(&self) -> Result<&Path, CniError> {
        let missing = || CniError::new(code::INVALID_ENVIRONMENT, "CNI_NETNS: is missing");
        self.netns.as_deref().ok_or_else(missing)
    }
}

/// One request about a network as a whole: GC or STATUS.
#[derive(Debug, Clone)]
pub struct NetworkRequest {
    /// The verb.
    pub verb: Verb,
    /// The configuration; for GC it lists the attachments that are still valid.
    pub conf: NetConf,
    /// Where other plugins are found.
    pub path: Vec<PathBuf>,
}

/// The verbs of CNI SPEC 1.1.0, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    /// The verb as `CNI_COMMAND` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }

    /// The first version of the specification that has the verb.
    #[must_use]
    pub const fn since(self) -> Version {
        match self {
            Verb::Add | Verb::Del | Verb::Version => Version::V0_1_0,
            Verb::Check => Version::V0_4_0,
            Verb::Gc | Verb::Status => Version::V1_1_0,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Verb, CniError> {
        let all = [
            Verb::Add,
            Verb::Del,
            Verb::Check,
            Verb::Gc,
            Verb::Status,
            Verb::Version,
        ];
        let found = all.into_iter().find(|v| v.as_str() == text);
        found.ok_or_else(|| {
            CniError::new(
                code::INVALID_ENVIRONMENT,
                format!("unknown CNI_COMMAND: {text}"),
            )
        })
    }
}

/// The directories of `CNI_PATH`, empty ones left out.
pub(crate) fn directories(path: Option<OsString>) -> Vec<PathBuf> {
    let path = path.unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect()
}
