//! What a plugin's Docker networks are, beside what all have in common.
//! The plugins' Docker faces implement it; `networks` and `calls` ask it.
//! It must never hold an endpoint: those are the network's.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::attachment::{AttachmentKey, derived_name};
use wharfline_core::driver::Driver;
use wharfline_core::error::Error;
use wharfline_core::session::Session;
use wharfline_kernel::hash::stable_hash;
use wharfline_spec::cni::CniResult;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::kept::KeptNetwork;
use wharfline_spec::docker::network::{CreateNetwork, Joined, OfEndpoint};
use wharfline_spec::names::{ContainerId, NetworkName};

use super::endpoint::Endpoint;
use super::networks::Network;
use super::subnets::Subnets;
use crate::metrics::Gauge;
use crate::options::Announcements;
use crate::refusal::Refusal;

/// A network of one plugin, as dockerd asked for it.
pub trait NetworkKind: PartialEq + Send + Sync + Sized + 'static {
    /// What plans its endpoints.
    type Driver: Driver;
    /// What an endpoint has beside its link; nothing by default.
    type Extra: std::fmt::Debug + Default + Send;

    /// Folder of the networks' files below the lasting state's.
    const FOLDER: &'static str;

    /// Reads a request.
    ///
    /// # Errors
    /// A text that names the option or the subnet.
    fn parse(request: &CreateNetwork) -> Result<Self, Refusal>;

    /// Its identifier.
    fn id(&self) -> &NetworkName;

    /// Its subnets.
    fn subnets(&self) -> &Subnets;

    /// The driver.
    fn driver(&self) -> &Self::Driver;

    /// What the driver plans an endpoint with these addresses by. A network without IPAM has endpoints without any.
    fn config(&self, addresses: &[IpNetwork]) -> <Self::Driver as Driver>::Config;

    /// The addresses of an endpoint as a lease.
    fn lease(&self, addresses: &[IpNetwork]) -> CniResult;

    /// What both can't have; `None` where they may be beside each other.
    fn clashes_with(&self, other: &Self) -> Option<String>;

    /// What is to be kept of it, found out before it is laid.
    fn kept(&self, request: CreateNetwork) -> Result<KeptNetwork, Error>;

    /// Makes what it has before its first endpoint; `adopted` as it was kept.
    fn lay(&self, adopted: bool) -> Result<(), Error>;

    /// Takes that away.
    fn take_away(&self, adopted: bool) -> Result<(), Error>;

    /// The MAC of an endpoint's interface: `asked`, or one of ours; `None` where the kernel gives it.
    ///
    /// # Errors
    /// A MAC was asked for that can't be the interface's.
    fn mac(&self, asked: Option<MacAddr6>, ours: MacAddr6) -> Result<Option<MacAddr6>, Refusal>;

    /// What Join answers.
    fn joined(&self, key: &AttachmentKey, addresses: &[IpNetwork]) -> Joined;

    /// How containers' addresses are told to their segment once they are up; `None` where nobody would hear of it, or
    /// somebody else does.
    fn announcements(&self) -> Option<Announcements> {
        None
    }

    /// What people see of an endpoint.
    fn tell(
        &self,
        key: &AttachmentKey,
        endpoint: &Endpoint<Self::Extra>,
        told: &mut Map<String, Value>,
    );

    /// The link that its endpoints stand on or are plugged into, as a label: what it is, and its name.
    fn link_label(&self) -> (&'static str, String);

    /// What endpoints have beside their links, as records tell of it.
    fn extras(&self, _session: &Session) -> Result<HashMap<ContainerId, Self::Extra>, Error> {
        Ok(HashMap::new())
    }

    /// Publishes an endpoint's ports, sorted and each but once; containers with addresses of the segment need none.
    fn publish(
        _network: &Network<Self>,
        _of: &OfEndpoint,
        _asked: Vec<PortBinding>,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// Publishes none of them any more.
    fn revoke(_network: &Network<Self>, _endpoint: &ContainerId) -> Result<(), Error> {
        Ok(())
    }

    /// What is measured of it beside its endpoints.
    fn gauges(_network: &Network<Self>) -> Vec<Gauge> {
        Vec::new()
    }

    /// Who an endpoint is to the engine. Its interface is called by the name of the end that dockerd takes.
    fn key(&self, endpoint: &ContainerId) -> AttachmentKey {
        let parts = [self.id().as_str().as_bytes(), endpoint.as_str().as_bytes()];
        AttachmentKey {
            network: self.id().clone(),
            container: endpoint.clone(),
            ifname: derived_name("wc", stable_hash(&parts)),
        }
    }

    /// The network itself, where the engine wants to know on whose behalf.
    fn own_key(&self) -> Result<AttachmentKey, Error> {
        let container = ContainerId::new(self.id().as_str());
        let container = container.map_err(|e| Error::config("network", e))?;
        Ok(self.key(&container))
    }
}
