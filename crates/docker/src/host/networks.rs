//! The networks of a Docker host: made, taken away, and found again after a restart.
//! `calls` looks them up for each call about an endpoint.
//! It must never forget a network that dockerd believes to be there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use wharfline_core::driver::Driver;
use wharfline_core::error::Error;
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::hash::stable_hash;
use wharfline_spec::docker::kept::KeptNetwork;
use wharfline_spec::docker::network::{CreateNetwork, OfNetwork};
use wharfline_spec::names::{ContainerId, NetworkName};

use super::endpoint::Endpoint;
use super::kind::NetworkKind;
use super::store::{NetworkStore, STATE_DIR};
use crate::refusal::{Refusal, refusal};

/// All networks of the host that dockerd made with one driver.
#[derive(Debug)]
pub struct Networks<K: NetworkKind> {
    store: NetworkStore,
    networks: RwLock<HashMap<NetworkName, Arc<Network<K>>>>,
    /// Held while a network comes or goes.
    changing: Mutex<()>,
}

/// A network and its endpoints.
#[derive(Debug)]
pub struct Network<K: NetworkKind> {
    /// As dockerd asked for it.
    pub docker: K,
    /// Whether its link was there before.
    adopted: bool,
    endpoints: Mutex<Endpoints<K>>,
    turns: Vec<Mutex<()>>,
}

/// A network's endpoints by their identifiers.
pub(crate) type Endpoints<K> = HashMap<ContainerId, Endpoint<<K as NetworkKind>::Extra>>;

/// Locks of a network's endpoints, who share them by their hash: none must be kept for each.
const TURNS: usize = 256;

impl<K: NetworkKind> Network<K> {
    fn new(docker: K, adopted: bool) -> Self {
        Self {
            docker,
            adopted,
            endpoints: Mutex::default(),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
        }
    }

    /// One call after another for an endpoint: what is dead may be taken away while dockerd speaks of it. Who has a turn
    /// must not ask for another's.
    pub(crate) fn turn(&self, endpoint: &ContainerId) -> MutexGuard<'_, ()> {
        let hash = stable_hash(&[endpoint.as_str().as_bytes()]);
        let turn = &self.turns[hash as usize % TURNS];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its endpoints.
    pub fn endpoints(&self) -> MutexGuard<'_, Endpoints<K>> {
        // A panic leaves a map whole: entries are put in and taken out at once.
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: NetworkKind> Networks<K> {
    /// Those of this host, from where they are kept.
    ///
    /// # Errors
    /// The folder can't be read or made.
    pub fn restore() -> Result<Self, Error> {
        Self::restore_from(&Path::new(STATE_DIR).join(K::FOLDER))
    }

    /// The networks that `folder` keeps, each laid anew where the kernel has lost it, with the endpoints that records
    /// tell of.
    fn restore_from(folder: &Path) -> Result<Self, Error> {
        let store = NetworkStore::open(folder)?;
        let (kept, unreadable) = store.all()?;
        for failure in unreadable {
            tracing::error!("{failure}");
        }
        let mut networks = HashMap::new();
        for kept in kept {
            match restored::<K>(&kept) {
                Ok(network) => {
                    networks.insert(network.docker.id().clone(), Arc::new(network));
                }
                Err(refusal) => tracing::error!("network {}: {refusal}", kept.request.network),
            }
        }
        Ok(Self {
            store,
            networks: RwLock::new(networks),
            changing: Mutex::new(()),
        })
    }

    /// The network.
    pub(crate) fn network(&self, id: &NetworkName) -> Result<Arc<Network<K>>, Refusal> {
        self.find(id)
            .ok_or_else(|| Refusal::new(format!("network {id} is not known")))
    }

    pub(crate) fn find(&self, id: &NetworkName) -> Option<Arc<Network<K>>> {
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        networks.get(id).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Network<K>>> {
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        networks.values().cloned().collect()
    }

    pub(crate) fn create(&self, request: CreateNetwork) -> Result<(), Refusal> {
        let docker = K::parse(&request)?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for other in self.all() {
            let id = other.docker.id();
            if id == docker.id() {
                // An answer that was lost: the same network is there. Another one under its name is not.
                return match other.docker == docker {
                    true => Ok(()),
                    false => Err(Refusal::new(format!("network {id} is there already"))),
                };
            }
            if let Some(what) = docker.clashes_with(&other.docker) {
                return Err(Refusal::new(format!("network {id} has {what} already")));
            }
        }
        let network = self.keep_and_lay(request, docker).map_err(refusal)?;
        let mut networks = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        networks.insert(network.docker.id().clone(), Arc::new(network));
        Ok(())
    }

    /// On the disk first: what a crash leaves in the kernel is found again.
    fn keep_and_lay(&self, request: CreateNetwork, docker: K) -> Result<Network<K>, Error> {
        let kept = docker.kept(request)?;
        self.store.keep(&kept)?;
        let network = Network::new(docker, kept.adopted);
        match network.docker.lay(kept.adopted) {
            Ok(()) => Ok(network),
            Err(mut failure) => {
                if let Err(left) = self.store.forget(network.docker.id()) {
                    failure.add_failed_undo(left.within("undo"));
                }
                Err(failure)
            }
        }
    }

    pub(crate) fn delete(&self, of: &OfNetwork) -> Result<(), Refusal> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(network) = self.find(&of.network) else {
            return Ok(());
        };
        // dockerd has none left by now; what is there was left over by a crash.
        let left: Vec<ContainerId> = network.endpoints().keys().cloned().collect();
        for endpoint in left {
            let _turn = network.turn(&endpoint);
            network.remove(&endpoint).map_err(refusal)?;
        }
        let taken = network.docker.take_away(network.adopted);
        taken.map_err(refusal)?;
        self.store.forget(&of.network).map_err(refusal)?;
        let mut networks = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        networks.remove(&of.network);
        Ok(())
    }
}

fn restored<K: NetworkKind>(kept: &KeptNetwork) -> Result<Network<K>, Refusal> {
    let network = Network::new(K::parse(&kept.request)?, kept.adopted);
    if let Err(failure) = network.docker.lay(kept.adopted) {
        // Endpoints make sure of its link once more.
        tracing::warn!("network {}: {failure}", network.docker.id());
    }
    let found = endpoints_of(&network.docker).map_err(refusal)?;
    *network.endpoints() = found;
    network.evict_dead();
    Ok(network)
}

fn endpoints_of<K: NetworkKind>(docker: &K) -> Result<Endpoints<K>, Error> {
    let session = Session::open()?;
    let links = Record::of_network(session.state(), docker.driver().name(), docker.id())?;
    let mut extras = docker.extras(&session)?;
    Ok(links
        .iter()
        .map(|link| {
            let extra = extras.remove(&link.container).unwrap_or_default();
            (link.container.clone(), Endpoint::of_record(link, extra))
        })
        .collect())
}
