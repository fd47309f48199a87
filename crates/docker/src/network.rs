//! `NetworkDriver`: the calls by their paths, and the trait that a plugin implements.
//! `exchange` calls it through `Protocol`.
//! It must never hold state: what a network is, the driver knows.

use wharfline_spec::docker::Done;
use wharfline_spec::docker::network::{
    Allocated, Capabilities, CreateEndpoint, CreateNetwork, EndpointCreated, Join, Joined,
    OfEndpoint, OfNetwork, OperInfo,
};

use crate::metrics::Gauge;
use crate::protocol::{Protocol, answer, read};
use crate::refusal::Refusal;

/// What dockerd asks of a network plugin. Calls come at the same time, for one endpoint one after another.
///
/// dockerd passes over failures of `delete_network`, `delete_endpoint` and `leave` and never repeats them.
pub trait NetworkDriver: Send + Sync {
    /// dockerd has just found the plugin: of endpoints that died while it was away it will not tell.
    fn activated(&self) {}
    /// Makes a network.
    fn create_network(&self, network: CreateNetwork) -> Result<(), Refusal>;
    /// Takes it away.
    fn delete_network(&self, of: &OfNetwork) -> Result<(), Refusal>;
    /// Makes an endpoint's half on the host; what it settled of what the request left open.
    fn create_endpoint(&self, endpoint: &CreateEndpoint) -> Result<EndpointCreated, Refusal>;
    /// Takes it away, with whatever is still published.
    fn delete_endpoint(&self, of: &OfEndpoint) -> Result<(), Refusal>;
    /// What people see of it.
    fn info(&self, of: &OfEndpoint) -> Result<OperInfo, Refusal>;
    /// The endpoint gets its container; dockerd moves the link that is answered.
    fn join(&self, join: &Join) -> Result<Joined, Refusal>;
    /// The container has left; the link is on the host again.
    fn leave(&self, of: &OfEndpoint) -> Result<(), Refusal>;
    /// Publishes its ports; repeated for the same ports, and for others.
    fn publish(&self, endpoint: &CreateEndpoint) -> Result<(), Refusal>;
    /// Publishes none of them any more.
    fn revoke(&self, of: &OfEndpoint) -> Result<(), Refusal>;
    /// What there is of it, for Prometheus.
    fn gauges(&self) -> Vec<Gauge>;
}

/// The protocol over a driver.
#[derive(Debug)]
pub struct NetworkProtocol<D>(pub D);

impl<D: NetworkDriver> Protocol for NetworkProtocol<D> {
    fn implements(&self) -> &'static [&'static str] {
        &["NetworkDriver"]
    }

    fn activated(&self) {
        self.0.activated();
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.0.gauges()
    }

    fn call(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let driver = &self.0;
        let done = |(): ()| answer(&Done {});
        let Some(call) = path.strip_prefix("/NetworkDriver.") else {
            return Err(Refusal::unknown_path(path));
        };
        match call {
            "GetCapabilities" => answer(&Capabilities {
                scope: "local",
                connectivity_scope: "local",
            }),
            "CreateNetwork" => driver.create_network(read(body)?).and_then(done),
            "DeleteNetwork" => driver.delete_network(&read(body)?).and_then(done),
            "CreateEndpoint" => answer(&driver.create_endpoint(&read(body)?)?),
            "DeleteEndpoint" => driver.delete_endpoint(&read(body)?).and_then(done),
            "EndpointOperInfo" => answer(&driver.info(&read(body)?)?),
            "Join" => answer(&driver.join(&read(body)?)?),
            "Leave" => driver.leave(&read(body)?).and_then(done),
            "ProgramExternalConnectivity" => driver.publish(&read(body)?).and_then(done),
            "RevokeExternalConnectivity" => driver.revoke(&read(body)?).and_then(done),
            // A swarm asks its managers; each host of it creates the network for itself all the same.
            "AllocateNetwork" => {
                read::<OfNetwork>(body).and_then(|_| answer(&Allocated::default()))
            }
            "FreeNetwork" => read::<OfNetwork>(body).map(drop).and_then(done),
            // Nodes and datastores of a swarm: nothing of ours depends on them.
            "DiscoverNew" | "DiscoverDelete" => done(()),
            _ => Err(Refusal::unknown_path(path)),
        }
    }
}
