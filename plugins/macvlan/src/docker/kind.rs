//! What Docker's networks on a parent are to `wharfline_docker`: how each is laid, taken away and told of.
//! The server calls it for every call of the protocol.
//! It must never hold an endpoint: those are the network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{self, Driver};
use wharfline_core::engine::Engine;
use wharfline_core::error::Error;
use wharfline_core::ipam::NO_IPAM;
use wharfline_core::plan::{Op, Target};
use wharfline_core::session::Session;
use wharfline_docker::Refusal;
use wharfline_docker::host::{Endpoint, NetworkKind, Subnets};
use wharfline_docker::options::Announcements;
use wharfline_spec::cni::CniResult;
use wharfline_spec::docker::kept::{KeptNetwork, SUB_INTERFACES};
use wharfline_spec::docker::network::{CreateNetwork, Joined, LinkName, StaticRoute};
use wharfline_spec::names::NetworkName;

use super::network::DockerNetwork;
use crate::config::SubInterfaceConfig;
use crate::driver::SubInterfaceDriver;
use crate::plan::Planning;

impl NetworkKind for DockerNetwork {
    type Driver = SubInterfaceDriver;
    type Extra = ();

    const FOLDER: &'static str = SUB_INTERFACES;

    fn parse(request: &CreateNetwork) -> Result<Self, Refusal> {
        Self::read(request)
    }

    fn id(&self) -> &NetworkName {
        &self.id
    }

    fn subnets(&self) -> &Subnets {
        &self.subnets
    }

    fn driver(&self) -> &SubInterfaceDriver {
        &self.driver
    }

    fn config(&self, addresses: &[IpNetwork]) -> SubInterfaceConfig {
        let mut config = self.config.clone();
        config.has_ipam &= !addresses.is_empty();
        config.probe &= !addresses.is_empty();
        config
    }

    fn lease(&self, addresses: &[IpNetwork]) -> CniResult {
        self.leased(addresses)
    }

    fn clashes_with(&self, other: &Self) -> Option<String> {
        self.shares_with(other)
    }

    fn kept(&self, request: CreateNetwork) -> Result<KeptNetwork, Error> {
        // What the kernel lacks is told to who makes the network, not to who starts a container.
        self.driver.require(&self.config, &Session::open()?)?;
        Ok(KeptNetwork {
            request,
            adopted: false,
            bridge: None,
            parent: Some(self.parent()),
        })
    }

    fn lay(&self, _adopted: bool) -> Result<(), Error> {
        let (ops, targets) = plan(self)?;
        let engine = Engine::new(&self.driver, &self.config, &NO_IPAM);
        engine.found(&self.own_key()?, &ops, &targets)
    }

    fn take_away(&self, _adopted: bool) -> Result<(), Error> {
        // Where the parent itself is gone there is nothing of it to take away.
        let targets = plan(self).map(|(_, targets)| targets).unwrap_or_default();
        Engine::new(&self.driver, &self.config, &NO_IPAM).dissolve(&self.id, &targets)
    }

    fn mac(&self, asked: Option<MacAddr6>, ours: MacAddr6) -> Result<Option<MacAddr6>, Refusal> {
        match (self.config.has_own_mac(), asked) {
            (true, asked) => Ok(Some(asked.unwrap_or(ours))),
            (false, None) => Ok(None),
            (false, Some(_)) => Err(Refusal::new(format!(
                "MacAddress: an interface of this type and mode ({}) has its parent's MAC",
                self.config.settings.name()
            ))),
        }
    }

    fn joined(&self, key: &AttachmentKey, addresses: &[IpNetwork]) -> Joined {
        let leads_out = !self.is_internal();
        // dockerd makes a default route of whatever is answered. At layer 3 there is no next hop: the parent's host routes.
        let gateway = |ipv6| {
            let gateway = self.subnets.gateway_of(addresses, ipv6);
            gateway.filter(|_| leads_out && !self.options.is_layer3())
        };
        let on_link = addresses
            .iter()
            .filter_map(|address| anywhere(address.is_ipv6()));
        let on_link = on_link.filter(|_| leads_out && self.options.is_layer3());
        Joined {
            link: LinkName {
                src_name: key.ifname.to_string(),
                dst_prefix: self.options.common.prefix.clone(),
            },
            gateway: gateway(false),
            gateway_ipv6: gateway(true),
            routes: on_link.map(StaticRoute::on_link).collect(),
            // The way out of a container is its segment's, or none.
            disable_gateway_service: true,
        }
    }

    /// At layer 3 nobody on the segment asks for a container's address.
    fn announcements(&self) -> Option<Announcements> {
        let common = &self.options.common;
        common
            .left_to_announce()
            .filter(|_| !self.options.is_layer3())
    }

    fn tell(&self, _: &AttachmentKey, _: &Endpoint<()>, told: &mut Map<String, Value>) {
        let kind = self.config.settings.name();
        told.insert("wharfline.kind".to_owned(), kind.into());
    }

    fn link_label(&self) -> (&'static str, String) {
        ("parent", self.parent().to_string())
    }
}

fn anywhere(ipv6: bool) -> Option<IpNetwork> {
    let any: IpAddr = match ipv6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    IpNetwork::new(any, 0).ok()
}

/// The network's own operations, and what takes them away.
fn plan(docker: &DockerNetwork) -> Result<(Vec<Op>, Vec<Target>), Error> {
    let key = docker.own_key()?;
    let lease = CniResult::default();
    let endpoint = driver::Endpoint {
        key: &key,
        netns: None,
        mac: None,
        lease: &lease,
        previous: None,
        salt: 0,
        contested: false,
    };
    let config = docker.config(&[]);
    let facts = docker
        .driver
        .observe(&config, &endpoint, &Session::open()?)?;
    let planning = Planning::new(&config, &endpoint, &facts)?;
    let ops = planning.parents().into_iter().map(|(_, op)| op).collect();
    Ok((ops, planning.parent_targets()))
}
