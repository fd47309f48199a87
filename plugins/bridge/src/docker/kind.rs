//! What Docker's networks on bridges are to `wharfline_docker`: how each is laid, taken away and told of.
//! The server calls it for every call of the protocol.
//! It must never hold an endpoint: those are the network's.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{self, Driver};
use wharfline_core::engine::Engine;
use wharfline_core::error::Error;
use wharfline_core::ipam::NO_IPAM;
use wharfline_core::plan::{NsRef, Op, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_docker::host::{Endpoint, Network, NetworkKind, Subnets};
use wharfline_docker::{Gauge, Refusal};
use wharfline_spec::cni::CniResult;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::kept::{KeptNetwork, NETWORKS};
use wharfline_spec::docker::network::{CreateNetwork, Joined, LinkName, OfEndpoint};
use wharfline_spec::names::{ContainerId, NetworkName};

use super::kept_ports::{Ports, ports_of};
use super::network::DockerNetwork;
use super::ports::PortsDriver;
use super::publishing::{publish, revoke};
use crate::config::BridgeConfig;
use crate::driver::BridgeDriver;
use crate::plan::Planning;

impl NetworkKind for DockerNetwork {
    type Driver = BridgeDriver;
    type Extra = Ports;

    const FOLDER: &'static str = NETWORKS;

    fn parse(request: &CreateNetwork) -> Result<Self, Refusal> {
        Self::read(request)
    }

    fn id(&self) -> &NetworkName {
        &self.id
    }

    fn subnets(&self) -> &Subnets {
        &self.subnets
    }

    fn driver(&self) -> &BridgeDriver {
        &BridgeDriver
    }

    fn config(&self, addresses: &[IpNetwork]) -> BridgeConfig {
        let mut config = self.config.clone();
        config.has_ipam &= !addresses.is_empty();
        config
    }

    /// Each address with the gateway that the host is to be.
    fn lease(&self, addresses: &[IpNetwork]) -> CniResult {
        self.leased(addresses.iter().copied())
    }

    fn clashes_with(&self, other: &Self) -> Option<String> {
        self.shares_with(other)
    }

    fn kept(&self, request: CreateNetwork) -> Result<KeptNetwork, Error> {
        let bridge = Session::open()?.link(NsRef::Host, &self.config.bridge)?;
        Ok(KeptNetwork {
            request,
            adopted: bridge.is_some(),
            bridge: Some(self.config.bridge.clone()),
            parent: None,
        })
    }

    fn lay(&self, adopted: bool) -> Result<(), Error> {
        let (ops, targets) = plan(self, adopted)?;
        let engine = Engine::new(&BridgeDriver, &self.config, &NO_IPAM);
        engine.found(&self.own_key()?, &ops, &targets)
    }

    fn take_away(&self, adopted: bool) -> Result<(), Error> {
        let (_, targets) = plan(self, adopted)?;
        Engine::new(&BridgeDriver, &self.config, &NO_IPAM).dissolve(&self.id, &targets)
    }

    fn mac(&self, asked: Option<MacAddr6>, ours: MacAddr6) -> Result<Option<MacAddr6>, Refusal> {
        Ok(Some(asked.unwrap_or(ours)))
    }

    fn joined(&self, key: &AttachmentKey, addresses: &[IpNetwork]) -> Joined {
        let common = &self.options.common;
        // dockerd makes a default route of whatever is answered.
        let gateway = |ipv6| {
            let gateway = self.subnets.gateway_of(addresses, ipv6);
            gateway.filter(|_| !common.internal)
        };
        let (v4, v6) = (gateway(false), gateway(true));
        Joined {
            link: LinkName {
                src_name: key.ifname.to_string(),
                dst_prefix: common.prefix.clone(),
            },
            gateway: v4,
            gateway_ipv6: v6,
            disable_gateway_service: v4.is_none(),
            ..Joined::default()
        }
    }

    fn tell(&self, key: &AttachmentKey, endpoint: &Endpoint<Ports>, told: &mut Map<String, Value>) {
        let ports = endpoint.extra.shown();
        told.insert("com.docker.network.portmap".to_owned(), ports);
        let link = key.host_end(0).to_string();
        told.insert("wharfline.link".to_owned(), link.into());
    }

    fn link_label(&self) -> (&'static str, String) {
        ("bridge", self.config.bridge.to_string())
    }

    fn extras(&self, session: &Session) -> Result<HashMap<ContainerId, Ports>, Error> {
        let records = Record::of_network(session.state(), PortsDriver.name(), &self.id)?;
        let of = |record: &Record| (record.container.clone(), ports_of(record));
        Ok(records.iter().map(of).collect())
    }

    fn publish(
        network: &Network<Self>,
        of: &OfEndpoint,
        asked: Vec<PortBinding>,
    ) -> Result<(), Refusal> {
        publish(network, of, asked)
    }

    fn revoke(network: &Network<Self>, endpoint: &ContainerId) -> Result<(), Error> {
        revoke(network, endpoint)
    }

    fn gauges(network: &Network<Self>) -> Vec<Gauge> {
        let ports = |endpoint: &Endpoint<Ports>| endpoint.extra.done.len();
        let published: usize = network.endpoints().values().map(ports).sum();
        vec![Gauge {
            name: "wharfline_docker_published_ports",
            help: "Ports of the host that lead to endpoints of a network.",
            labels: network.labels(),
            value: published as f64,
        }]
    }
}

/// The network's own operations, and what takes them away.
fn plan(docker: &DockerNetwork, adopted: bool) -> Result<(Vec<Op>, Vec<Target>), Error> {
    let key = docker.own_key()?;
    let lease = docker.gateways();
    let endpoint = driver::Endpoint {
        key: &key,
        netns: None,
        mac: None,
        lease: &lease,
        previous: None,
        salt: 0,
        contested: false,
    };
    // A network without a gateway has no address, but it has a bridge.
    let config = docker.config(&[]);
    let session = Session::open()?;
    let facts = BridgeDriver.observe(&config, &endpoint, &session)?;
    let planning = Planning::new(&config, &endpoint, &facts)?;
    let mut targets = planning.shared();
    if !adopted {
        targets.push(Target::Bridge {
            name: config.bridge.clone(),
        });
    }
    Ok((planning.network(), targets))
}
