//! A Docker network: its subnets and options, and the configuration of the driver that CNI uses, made from them.
//! `kind` makes plans from it.
//! It must never touch the kernel.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use wharfline_core::plan::NsRef;
use wharfline_docker::Refusal;
use wharfline_docker::host::Subnets;
use wharfline_kernel::nft::Boundary;
use wharfline_spec::cni::{CniResult, IpConfig};
use wharfline_spec::docker::network::CreateNetwork;
use wharfline_spec::names::{IfName, NetworkName};

use super::options::{GatewayMode, Options};
use crate::config::{BridgeConfig, Families};

/// A network as dockerd asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerNetwork {
    /// Its identifier.
    pub id: NetworkName,
    /// Its options.
    pub options: Options,
    /// Its subnets of both families; none of a network without addresses.
    pub subnets: Subnets,
    /// What the driver plans by.
    pub config: BridgeConfig,
}

impl DockerNetwork {
    /// Reads a request.
    ///
    /// # Errors
    /// A text that names the option or the subnet.
    pub(crate) fn read(request: &CreateNetwork) -> Result<Self, Refusal> {
        let options = Options::parse(request)?;
        let bridge = options.bridge.clone();
        let bridge = bridge.map_or_else(|| bridge_of(&request.network), Ok)?;
        let subnets = Subnets::parse(request)?;
        Ok(Self {
            id: request.network.clone(),
            config: config(bridge, &options, &subnets),
            options,
            subnets,
        })
    }

    /// The addresses of the gateways that are the bridge's, as a lease.
    pub(crate) fn gateways(&self) -> CniResult {
        let gateways = self.subnets.iter().filter_map(|subnet| subnet.gateway);
        self.leased(gateways)
    }

    /// The addresses of an endpoint as a lease: each with the gateway that the host is to be.
    pub(crate) fn leased(&self, addresses: impl IntoIterator<Item = IpNetwork>) -> CniResult {
        let with_gateway = |address: IpNetwork| IpConfig {
            interface: None,
            address,
            gateway: self
                .subnets
                .gateway_for(address.ip())
                .filter(|gateway| self.options.has_gateway(gateway.is_ipv6())),
        };
        CniResult {
            ips: addresses.into_iter().map(with_gateway).collect(),
            ..CniResult::default()
        }
    }

    /// Whether both have an address or the bridge in common; says what.
    pub(crate) fn shares_with(&self, other: &Self) -> Option<String> {
        if self.config.bridge == other.config.bridge {
            return Some(format!("bridge {}", self.config.bridge));
        }
        let (ours, theirs) = self.subnets.overlap(&other.subnets)?;
        Some(format!("subnet {theirs}, which overlaps with {ours}"))
    }
}

/// `wh-` and what `docker network ls` shows of the identifier; `br-` is Docker's own.
fn bridge_of(id: &NetworkName) -> Result<IfName, Refusal> {
    let short: String = id.as_str().chars().take(12).collect();
    IfName::new(&format!("wh-{short}")).map_err(|e| Refusal::new(e.to_string()))
}

fn config(bridge: IfName, options: &Options, subnets: &Subnets) -> BridgeConfig {
    let masquerade = |ipv6| {
        let nat = matches!(
            options.mode(ipv6),
            GatewayMode::Nat | GatewayMode::NatUnprotected
        );
        nat && options.masquerade && !options.common.internal
    };
    BridgeConfig {
        is_gateway: true,
        masquerade: Families {
            v4: masquerade(false),
            v6: masquerade(true),
        },
        mtu: options.common.mtu,
        // dockerd has br_netfilter on: a container reaches its own published port only through a port with this flag.
        hairpin: true,
        isolated: !options.icc,
        has_ipam: !subnets.is_empty(),
        boundary: boundary(bridge.as_str(), options),
        // dockerd moves it, once it has a container.
        born_in: NsRef::Host,
        // The gateway may be elsewhere, or none: what is not said is not there.
        implies_gateway: false,
        several_subnets: true,
        succeeds_reference: false,
        ..BridgeConfig::bare(bridge)
    }
}

fn boundary(bridge: &str, options: &Options) -> Vec<Boundary> {
    let ifname = || bridge.to_owned();
    let mut boundary = vec![Boundary::Network { ifname: ifname() }];
    if !options.icc {
        boundary.push(Boundary::Secluded { ifname: ifname() });
    }
    if options.common.internal {
        boundary.push(Boundary::Internal { ifname: ifname() });
        return boundary;
    }
    for ipv6 in [false, true] {
        match options.mode(ipv6) {
            GatewayMode::NatUnprotected => continue,
            GatewayMode::Routed => boundary.push(Boundary::Routed {
                ifname: ifname(),
                ipv6,
            }),
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        boundary.push(Boundary::Protected {
            ifname: ifname(),
            ipv6,
        });
    }
    let sources = [
        options.host_v4.map(IpAddr::V4),
        options.host_v6.map(IpAddr::V6),
    ];
    boundary.extend(
        sources
            .into_iter()
            .flatten()
            .map(|source| Boundary::Source {
                ifname: ifname(),
                source,
            }),
    );
    boundary.extend(options.trusted.iter().map(|from| Boundary::Trusted {
        from: from.to_string(),
        ifname: ifname(),
    }));
    boundary
}
