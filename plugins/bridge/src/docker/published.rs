//! Which ports of the host an endpoint gets: those that were named, and free ones where the user left it open.
//! The call ProgramExternalConnectivity makes a `PortsConfig` with it.
//! It must never publish a port that a process of the host listens on.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use ipnetwork::IpNetwork;
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::publish::{self, protocol};
use wharfline_core::session::Session;
use wharfline_kernel::listener;
use wharfline_spec::cni::PortMapping;
use wharfline_spec::docker::PortBinding;

use super::network::DockerNetwork;
use super::options::GatewayMode;
use super::ports::PortsConfig;

/// Where ports are taken from when the user names none: the dynamic ones (RFC 6335, section 6).
const DYNAMIC: RangeInclusive<u16> = 49_153..=65_535;

/// What an endpoint publishes, and the ports that are kept from all others meanwhile.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// For the driver.
    pub config: PortsConfig,
    /// Ports that were chosen here.
    pub kept: Vec<(PortMapping, Vec<OwnedFd>)>,
}

impl Chosen {
    /// Whether one of its ports is this one, on an address that both have.
    fn has(&self, wanted: &PortMapping) -> bool {
        self.config.ports.iter().any(|port| {
            let apart = matches!((port.host_ip, wanted.host_ip), (Some(a), Some(b)) if a != b);
            port.protocol == wanted.protocol && port.host_port == wanted.host_port && !apart
        })
    }
}

/// Chooses for the endpoint with `addresses`.
pub(crate) fn choose(
    network: &DockerNetwork,
    addresses: &[IpNetwork],
    bindings: &[PortBinding],
) -> Result<Chosen> {
    let mut chosen = nothing(network, addresses);
    if network.options.common.internal {
        return Ok(chosen);
    }
    // Those that leave no choice go first: what is chosen is then beside them.
    let mut bindings: Vec<&PortBinding> = bindings.iter().collect();
    bindings.sort_by_key(|binding| freedom(binding));
    for binding in bindings {
        open(&mut chosen.config, network, addresses, binding);
        let hosts_family = |ip: &IpAddr| {
            let host = host_of(network, binding);
            host.is_none_or(|host| host.is_ipv4() == ip.is_ipv4())
        };
        if chosen.config.translated.iter().any(hosts_family) {
            publish(&mut chosen, network, binding)?;
        }
    }
    Ok(chosen)
}

/// How many ports a binding leaves to choose from, besides the first.
fn freedom(binding: &PortBinding) -> u16 {
    match binding.host_port {
        0 => u16::MAX,
        first => binding.host_port_end.saturating_sub(first),
    }
}

/// Whether all of `done` still stands: another endpoint of the same container may have taken it over.
pub(crate) fn still_stands(
    network: &DockerNetwork,
    addresses: &[IpNetwork],
    done: &[PortMapping],
) -> Result<bool> {
    let config = PortsConfig {
        ports: done.to_vec(),
        ..nothing(network, addresses).config
    };
    let elements = publish::published(&config.publication(None));
    let missing = Session::open()?.with_nft(|nft| nft.missing(&elements))?;
    Ok(missing.is_empty())
}

/// Keeps ports again that an earlier process of ours had chosen. One that somebody has taken since stays published: the
/// first translation wins over whoever listens.
pub(crate) fn keep_again(mappings: &[PortMapping]) -> Vec<(PortMapping, Vec<OwnedFd>)> {
    let keep = |mapping: &PortMapping| {
        let kept = listener::keep(
            protocol(mapping.protocol),
            mapping.host_ip,
            mapping.host_port,
        );
        (*mapping, kept.unwrap_or_default())
    };
    mappings.iter().map(keep).collect()
}

/// The endpoint without any port.
pub(crate) fn nothing(network: &DockerNetwork, addresses: &[IpNetwork]) -> Chosen {
    let is_translated = |ip: &IpAddr| network.options.mode(ip.is_ipv6()) != GatewayMode::Routed;
    let addresses = addresses.iter().map(|address| address.ip());
    Chosen {
        config: PortsConfig {
            bridge: network.config.bridge.clone(),
            ports: Vec::new(),
            translated: addresses.filter(is_translated).collect(),
            open: Vec::new(),
        },
        kept: Vec::new(),
    }
}

/// In routed families the port is reached at the container's own address.
fn open(
    config: &mut PortsConfig,
    network: &DockerNetwork,
    addresses: &[IpNetwork],
    binding: &PortBinding,
) {
    let routed = addresses
        .iter()
        .map(|address| address.ip())
        .filter(|ip| network.options.mode(ip.is_ipv6()) == GatewayMode::Routed);
    for ip in routed {
        let opened = (
            protocol(binding.protocol),
            SocketAddr::new(ip, binding.port),
        );
        if !config.open.contains(&opened) {
            config.open.push(opened);
        }
    }
}

/// The host's address that the user named, or the network's default.
fn host_of(network: &DockerNetwork, binding: &PortBinding) -> Option<IpAddr> {
    let default = network.options.host_binding.map(IpAddr::V4);
    binding.host_ip.or(default)
}

fn publish(chosen: &mut Chosen, network: &DockerNetwork, binding: &PortBinding) -> Result<()> {
    let mapping = |host_port| PortMapping {
        host_port,
        container_port: binding.port,
        protocol: binding.protocol,
        host_ip: host_of(network, binding),
    };
    let candidates = match (binding.host_port, binding.host_port_end) {
        (0, _) => DYNAMIC,
        (first, last) if last > first => first..=last,
        (port, _) => {
            let mapping = mapping(port);
            refuse_taken(&mapping)?;
            chosen.config.ports.push(mapping);
            return Ok(());
        }
    };
    let session = Session::open()?;
    for port in shuffled(&candidates) {
        let mapping = mapping(port);
        if chosen.has(&mapping) {
            continue;
        }
        if let Some(kept) = free(&session, chosen, &mapping)? {
            chosen.config.ports.push(mapping);
            chosen.kept.push((mapping, kept));
            return Ok(());
        }
    }
    let (first, last) = (candidates.start(), candidates.end());
    let what = format!(
        "no {} port from {first} to {last} is free",
        binding.protocol
    );
    Err(Error::new(ErrorKind::Exhausted, what))
}

/// Begins somewhere, so that two servers, or one and its successor, do not fight for the first.
fn shuffled(ports: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let (first, last) = (*ports.start(), *ports.end());
    let count = u32::from(last - first) + 1;
    // A range that the user named is taken in its order, as Docker's own driver does.
    let start = if *ports == DYNAMIC {
        RandomState::new().hash_one(count) as u32 % count
    } else {
        0
    };
    (0..count).map(move |step| first + ((start + step) % count) as u16)
}

fn refuse_taken(mapping: &PortMapping) -> Result<()> {
    if !listener::is_taken(
        protocol(mapping.protocol),
        mapping.host_ip,
        mapping.host_port,
    ) {
        return Ok(());
    }
    let host = mapping
        .host_ip
        .map_or("every address".to_owned(), |ip| ip.to_string());
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "port: {} port {} of {host} is in use: a process of the host has it",
            mapping.protocol, mapping.host_port
        ),
    ))
}

/// The port's descriptors if neither a process nor another container has it.
fn free(session: &Session, chosen: &Chosen, mapping: &PortMapping) -> Result<Option<Vec<OwnedFd>>> {
    let Some(kept) = listener::keep(
        protocol(mapping.protocol),
        mapping.host_ip,
        mapping.host_port,
    ) else {
        return Ok(None);
    };
    let one = PortsConfig {
        ports: vec![*mapping],
        ..chosen.config.clone()
    };
    let elements = publish::published(&one.publication(None));
    let found = session.with_nft(|nft| nft.look_up(&elements))?;
    Ok(found.iter().all(Option::is_none).then_some(kept))
}
