//! The networks of a Docker host: made, taken away, and found again after a restart.
//! `calls` looks them up for each call about an endpoint.
//! It must never forget a network that dockerd believes to be there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use wharfline_core::driver::{self, Driver};
use wharfline_core::engine::Engine;
use wharfline_core::error::Error;
use wharfline_core::ipam::NO_IPAM;
use wharfline_core::plan::{NsRef, Op, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_docker::Refusal;
use wharfline_kernel::hash::stable_hash;
use wharfline_spec::docker::kept::KeptNetwork;
use wharfline_spec::docker::network::{CreateNetwork, OfNetwork};
use wharfline_spec::names::{ContainerId, NetworkName};

use super::endpoint::Endpoint;
use super::network::DockerNetwork;
use super::ports::PortsDriver;
use super::refusal;
use super::store::NetworkStore;
use crate::driver::BridgeDriver;
use crate::plan::Planning;

/// All networks of the host that dockerd made with this driver.
#[derive(Debug)]
pub(crate) struct DockerBridge {
    store: NetworkStore,
    networks: RwLock<HashMap<NetworkName, Arc<Network>>>,
    /// Held while a network comes or goes.
    changing: Mutex<()>,
}

/// A network and its endpoints.
#[derive(Debug)]
pub(crate) struct Network {
    /// As dockerd asked for it.
    pub docker: DockerNetwork,
    /// Whether the bridge was there before.
    adopted: bool,
    endpoints: Mutex<HashMap<ContainerId, Endpoint>>,
    turns: Vec<Mutex<()>>,
}

/// Locks of a network's endpoints, who share them by their hash: none must be kept for each.
const TURNS: usize = 256;

impl Network {
    fn new(docker: DockerNetwork, adopted: bool) -> Self {
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
    pub(crate) fn endpoints(&self) -> MutexGuard<'_, HashMap<ContainerId, Endpoint>> {
        // A panic leaves a map whole: entries are put in and taken out at once.
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl DockerBridge {
    /// The networks that `folder` keeps, each laid anew where the kernel has lost it, with the endpoints that records
    /// tell of.
    pub(crate) fn restore(folder: &Path) -> Result<Self, Error> {
        let store = NetworkStore::open(folder)?;
        let (kept, unreadable) = store.all()?;
        for failure in unreadable {
            tracing::error!("{failure}");
        }
        let mut networks = HashMap::new();
        for kept in kept {
            match restored(&kept) {
                Ok(network) => {
                    networks.insert(network.docker.id.clone(), Arc::new(network));
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
    pub(crate) fn network(&self, id: &NetworkName) -> Result<Arc<Network>, Refusal> {
        self.find(id)
            .ok_or_else(|| Refusal::new(format!("network {id} is not known")))
    }

    pub(crate) fn find(&self, id: &NetworkName) -> Option<Arc<Network>> {
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        networks.get(id).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Network>> {
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        networks.values().cloned().collect()
    }

    pub(crate) fn create(&self, request: CreateNetwork) -> Result<(), Refusal> {
        let docker = DockerNetwork::parse(&request)?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for other in self.all() {
            if other.docker.id == docker.id {
                // An answer that was lost: the same network is there. Another one under its name is not.
                return match other.docker == docker {
                    true => Ok(()),
                    false => Err(Refusal::new(format!(
                        "network {} is there already",
                        docker.id
                    ))),
                };
            }
            if let Some(what) = docker.clashes_with(&other.docker) {
                let id = &other.docker.id;
                return Err(Refusal::new(format!("network {id} has {what} already")));
            }
        }
        let network = self.keep_and_lay(request, docker).map_err(refusal)?;
        let mut networks = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        networks.insert(network.docker.id.clone(), Arc::new(network));
        Ok(())
    }

    /// On the disk first: what a crash leaves in the kernel is found again.
    fn keep_and_lay(
        &self,
        request: CreateNetwork,
        docker: DockerNetwork,
    ) -> Result<Network, Error> {
        let bridge = Session::open()?.link(NsRef::Host, &docker.config.bridge)?;
        let adopted = bridge.is_some();
        self.store.keep(&KeptNetwork {
            request,
            adopted,
            bridge: Some(docker.config.bridge.clone()),
        })?;
        let id = docker.id.clone();
        let network = Network::new(docker, adopted);
        match lay(&network) {
            Ok(()) => Ok(network),
            Err(mut failure) => {
                if let Err(left) = self.store.forget(&id) {
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
        take_away(&network).map_err(refusal)?;
        self.store.forget(&of.network).map_err(refusal)?;
        let mut networks = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        networks.remove(&of.network);
        Ok(())
    }
}

/// The network's own operations, and what takes them away.
fn plan(network: &Network) -> Result<(Vec<Op>, Vec<Target>), Error> {
    let docker = &network.docker;
    let key = docker.own_key().map_err(|e| Error::config("network", e))?;
    let lease = docker.gateways();
    let endpoint = driver::Endpoint {
        key: &key,
        netns: None,
        mac: None,
        lease: &lease,
        previous: None,
        salt: 0,
    };
    // A network without a gateway has no address, but it has a bridge.
    let mut config = docker.config.clone();
    config.has_ipam = false;
    let session = Session::open()?;
    let facts = BridgeDriver.observe(&config, &endpoint, &session)?;
    let planning = Planning::new(&config, &endpoint, &facts)?;
    let mut targets = planning.shared();
    if !network.adopted {
        targets.push(Target::Bridge {
            name: config.bridge.clone(),
        });
    }
    Ok((planning.network(), targets))
}

fn lay(network: &Network) -> Result<(), Error> {
    let (ops, targets) = plan(network)?;
    let docker = &network.docker;
    let key = docker.own_key().map_err(|e| Error::config("network", e))?;
    Engine::new(&BridgeDriver, &docker.config, &NO_IPAM).found(&key, &ops, &targets)
}

fn take_away(network: &Network) -> Result<(), Error> {
    let (_, targets) = plan(network)?;
    let docker = &network.docker;
    Engine::new(&BridgeDriver, &docker.config, &NO_IPAM).dissolve(&docker.id, &targets)
}

fn restored(kept: &KeptNetwork) -> Result<Network, Refusal> {
    let network = Network::new(DockerNetwork::parse(&kept.request)?, kept.adopted);
    if let Err(failure) = lay(&network) {
        // Endpoints make sure of the bridge once more.
        tracing::warn!("network {}: {failure}", network.docker.id);
    }
    let found = endpoints_of(&network).map_err(refusal)?;
    *network.endpoints() = found;
    network.evict_dead();
    Ok(network)
}

fn endpoints_of(network: &Network) -> Result<HashMap<ContainerId, Endpoint>, Error> {
    let session = Session::open()?;
    let (state, id) = (session.state(), &network.docker.id);
    let links = Record::of_network(state, BridgeDriver.name(), id)?;
    let ports = Record::of_network(state, PortsDriver.name(), id)?;
    let ports: HashMap<&ContainerId, &Record> = ports
        .iter()
        .map(|record| (&record.container, record))
        .collect();
    Ok(links
        .iter()
        .map(|link| {
            let of_ports = ports.get(&link.container).copied();
            (link.container.clone(), Endpoint::of_records(link, of_ports))
        })
        .collect())
}
