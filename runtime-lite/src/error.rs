//! What can go wrong in wharf, in words for the person at the terminal.
//! Every module returns it; `main` prints it once, with every cause, and derives the exit status.
//! It must never be printed by anyone but `main` (warnings go through `output`).

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::errno::Errno;
use wharf_protocol::{ChannelError, Failure, Stage};
use wharfline_cni::client::ClientError;
use wharfline_spec::BadName;
use wharfline_spec::cni::CniError;

/// The result of everything that can fail here.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An error: what was tried, on which object, and the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{doing} {}", path.display())]
    Kernel {
        doing: &'static str,
        path: PathBuf,
        source: Errno,
    },
    #[error("{} is not what wharf writes there", path.display())]
    Malformed {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Cni(Box<ClientError>),
    #[error("{object}")]
    Config { object: String, source: CniError },
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    Image(#[from] wharf_image::Error),
    #[error("port {given:?}: {rule}")]
    BadPort { given: String, rule: &'static str },
    #[error("publishing a port needs a network, and --network is {mode}")]
    PortWithoutNetwork { mode: &'static str },
    #[error("{given:?} {rule}")]
    BadValue { given: String, rule: &'static str },
    #[error("{one} can't be combined with {other}")]
    Conflict {
        one: &'static str,
        other: &'static str,
    },
    #[error(
        "a --health option without a check: neither --health-cmd nor the image says how to ask whether it is well"
    )]
    NoHealthCommand,
    #[error("no command: neither the image nor the command line names one")]
    NoCommand,
    #[error("there is no {what} {name:?} in the container's root filesystem")]
    NoSuchAccount { what: &'static str, name: String },
    #[error("{0} can't be given away: this process does not hold it")]
    CapabilityNotHeld(&'static str),
    #[error("--device needs rules for devices, which wharf-shim is built without on cgroup v2")]
    NoDeviceRules,
    #[error("container {0} has no network namespace that could be shared: start it first")]
    NoNamespace(String),
    #[error("there is no plugin called loopback, which brought lo up when the container was made")]
    NoLoopback,
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("container {0} is running: stop it first, or use --force where there is one")]
    Running(String),
    #[error("another wharf works on container {0}")]
    Busy(String),
    #[error(
        "container {0} was started with --rm and without -d or -t: what it writes goes where that wharf run writes, and is not logged"
    )]
    NotLogged(String),
    #[error("{0} takes one container at a time")]
    OneAtATime(&'static str),
    #[error("container {0} has just ended")]
    ShimGone(String),
    #[error("{0} container(s) could not be removed")]
    Unremoved(usize),
    #[error("{0} of the containers: it did not work")]
    Undone(usize),
    #[error("root filesystem {}: {problem}", path.display())]
    BadRootfs {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("there is no image {0:?}, but a folder of this name: a folder is written ./{0}")]
    FolderLikeImage(String),
    #[error("container {0} has lost what it was made of (its folder below roots/): remove it")]
    NoRoot(String),
    #[error("the name {name:?} is taken by container {id}")]
    NameTaken { name: String, id: String },
    #[error("there is no container {0:?}")]
    NoSuchContainer(String),
    #[error("more than one container matches {0:?}")]
    AmbiguousContainer(String),
    #[error("there is no network {name:?}, neither in {} nor in {}", own.display(), conf.display())]
    NoSuchNetwork {
        name: String,
        own: PathBuf,
        conf: PathBuf,
    },
    #[error("container {container} is not connected to network {network}")]
    NotConnected { container: String, network: String },
    #[error("network {name} exists already: {}", path.display())]
    NetworkExists { name: String, path: PathBuf },
    #[error("network {name} is not wharf's to remove: it comes from {}", path.display())]
    ForeignNetwork { name: String, path: PathBuf },
    #[error("network {name} is used by {}", containers.join(", "))]
    NetworkInUse {
        name: String,
        containers: Vec<String>,
    },
    #[error("subnet {given}: {problem}")]
    BadSubnet { given: String, problem: String },
    #[error("no free subnet left in {0}: give one with --subnet")]
    NoFreeSubnet(&'static str),
    #[error("{}", summarize("container", .0))]
    Container(Failure),
    #[error("the shim of the container ended without a word; its log says: {log}")]
    ShimDied { log: String },
    #[error("talk to the container's shim")]
    Channel(#[from] ChannelError),
    #[error("run {}: {complaint}", program.display())]
    Helper { program: PathBuf, complaint: String },
    #[error("{} attachment(s) are not as they were made", .0)]
    CheckFailed(usize),
    #[error("{} network(s) can't take containers", .0)]
    StatusFailed(usize),
    #[error("{0} of the things to clean could not be cleaned")]
    Uncleaned(usize),
    #[error("problems found: {0}")]
    Unwell(usize),
    #[error(
        "there are containers and volumes left: {}; remove them first (`wharf rm`, `wharf volume rm`)", .0.join(", ")
    )]
    StillThere(Vec<String>),
    #[error("volume {name} is used by {}", containers.join(", "))]
    VolumeInUse {
        name: String,
        containers: Vec<String>,
    },
    #[error("{object}driver {driver}: {doing}: {said}")]
    Driver {
        /// `volume NAME: `, or nothing.
        object: String,
        driver: String,
        doing: &'static str,
        said: String,
        /// Whether it said so; if not, nobody knows what it did.
        answered: bool,
    },
    #[error("move volume {volume} to {host}: {said}")]
    Migration {
        volume: String,
        host: String,
        said: String,
    },
    #[error(
        "there is no volume driver {0}: no socket in /run/docker/plugins, no .spec or .json file in /etc/docker/plugins or /usr/lib/docker/plugins"
    )]
    NoVolumeDriver(String),
    #[error("driver {0} does not keep volumes: it does not implement VolumeDriver")]
    NotAVolumeDriver(String),
    #[error("volume {name} is kept by driver {driver}, not by {asked}")]
    VolumeOfOther {
        name: String,
        driver: String,
        asked: String,
    },
    #[error(
        "volume {0}: options are for a driver, and it would be a folder of wharf's (driver local)"
    )]
    LocalOptions(String),
    #[error("there is no volume {0:?}")]
    NoSuchVolume(String),
    #[error("still in use: {}; end these containers first", .0.join(", "))]
    StillUsed(Vec<String>),
    #[error("a thread of wharf stopped")]
    Thread,
}

fn summarize(object: &str, failure: &Failure) -> String {
    match failure.stage {
        Stage::Create => format!("make the {object}: {}", failure.reason),
        Stage::Start => format!("start the {object}: {}", failure.reason),
        Stage::Exec => format!("run a process in the {object}: {}", failure.reason),
        Stage::Request | Stage::CommandNotFound | Stage::CommandNotExecutable => {
            failure.reason.clone()
        }
    }
}

impl Error {
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn kernel(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(Errno) -> Error {
        let path = path.into();
        move |source| Error::Kernel {
            doing,
            path,
            source,
        }
    }

    /// The error and each cause below it, in one line. A cause that its parent already quotes is not repeated.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let words = cause.to_string();
            if !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            next = cause.source();
        }
        text
    }

    /// The exit status of `wharf run`, by Docker's rule: 127 no such command, 126 not executable, 125 the rest.
    pub(crate) fn run_exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Error::Container(failure) => match failure.stage {
                Stage::CommandNotFound => 127,
                Stage::CommandNotExecutable => 126,
                Stage::Create | Stage::Start | Stage::Exec | Stage::Request => 125,
            },
            _ => 125,
        })
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        Error::Cni(Box::new(error))
    }
}
