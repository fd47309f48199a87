//! The verbs, once for all plugins: each derived from what a driver observes, plans and marks.
//! The CNI face (and Docker's) calls one method a request.
//! It must never know what a bridge or a port mapping is.

mod add;
mod check;
mod collect;
mod del;
mod network;

use std::path::PathBuf;

use macaddr::MacAddr6;
use wharfline_spec::cni::CniResult;

use crate::attachment::AttachmentKey;
use crate::driver::{Driver, Endpoint};
use crate::error::Result;
use crate::ipam::Ipam;
use crate::lock::{Lock, Mode};
use crate::session::Session;
use crate::state::HostState;

pub use collect::Sweep;

/// A driver with its configuration, ready for one verb.
pub struct Engine<'a, D: Driver> {
    driver: &'a D,
    config: &'a D::Config,
    ipam: &'a dyn Ipam,
}

/// What a request says about its attachment.
#[derive(Debug, Clone)]
pub struct Attach<'a> {
    /// Who it is.
    pub key: AttachmentKey,
    /// Path of the container's namespace; `None` where the runtime says that it is gone.
    pub netns: Option<PathBuf>,
    /// The MAC that the user asked for.
    pub mac: Option<MacAddr6>,
    /// What plugins before this one made, or at CHECK what ADD answered.
    pub previous: Option<&'a CniResult>,
    /// Labels and names, kept in the record for people and policy.
    pub labels: serde_json::Map<String, serde_json::Value>,
}

impl<'a, D: Driver> Engine<'a, D> {
    /// The verbs of `driver` under `config`, with addresses from `ipam`.
    pub fn new(driver: &'a D, config: &'a D::Config, ipam: &'a dyn Ipam) -> Self {
        Self {
            driver,
            config,
            ipam,
        }
    }

    /// Whether an ADD could succeed now: the kernel's features, then an address.
    pub fn status(&self) -> Result<()> {
        let session = Session::open()?;
        self.driver.require(self.config, &session)?;
        self.ipam.status()
    }

    /// Two verbs on one attachment never overlap.
    fn lock_attachment(&self, state: &HostState, key: &AttachmentKey) -> Result<Held> {
        let path = state.lock(&format!("{}-{:08x}", self.driver.name(), key.id()));
        let lock = Lock::acquire(&path, Mode::Exclusive)?;
        Ok(Held { lock, path })
    }
}

/// An attachment's lock and its file.
struct Held {
    lock: Lock,
    path: PathBuf,
}

impl Held {
    /// Lets go and leaves no file behind.
    fn release(self) -> Result<()> {
        self.lock.remove(&self.path)
    }
}

fn endpoint<'a>(attach: &'a Attach<'_>, lease: &'a CniResult, salt: u8) -> Endpoint<'a> {
    Endpoint {
        key: &attach.key,
        netns: attach.netns.clone(),
        mac: attach.mac,
        lease,
        previous: attach.previous,
        salt,
        contested: false,
    }
}
