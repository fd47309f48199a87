//! A Docker network on a parent: its subnets and options, and the configuration of the driver that CNI uses, made from them.
//! `kind` makes plans from it.
//! It must never touch the kernel.

use ipnetwork::IpNetwork;
use wharfline_core::attachment::derived_name;
use wharfline_core::plan::NsRef;
use wharfline_docker::Refusal;
use wharfline_docker::host::Subnets;
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::sub_interface::SubInterfaceKind;
use wharfline_spec::cni::{CniResult, Dns, IpConfig};
use wharfline_spec::docker::network::CreateNetwork;
use wharfline_spec::names::{IfName, NetworkName};

use super::options::Options;
use crate::config::{Family, SubInterfaceConfig};
use crate::driver::SubInterfaceDriver;

/// A network as dockerd asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerNetwork {
    /// Its identifier.
    pub id: NetworkName,
    /// Its options.
    pub options: Options,
    /// Its subnets of both families; none of a network without addresses.
    pub subnets: Subnets,
    /// What plans its endpoints.
    pub driver: SubInterfaceDriver,
    /// What it plans by.
    pub config: SubInterfaceConfig,
}

impl DockerNetwork {
    /// Reads a request.
    ///
    /// # Errors
    /// A text that names the option or the subnet.
    pub(crate) fn read(request: &CreateNetwork) -> Result<Self, Refusal> {
        let options = Options::parse(request)?;
        let subnets = Subnets::parse(request)?;
        if options.host_access && subnets.is_empty() {
            return Err(Refusal::new(
                "option host_access: has nothing to lead to on a network without addresses",
            ));
        }
        let family = match options.is_ipvlan() {
            true => Family::Ipvlan,
            false => Family::Macvlan,
        };
        Ok(Self {
            id: request.network.clone(),
            config: config(&request.network, &options, &subnets),
            driver: SubInterfaceDriver { family },
            options,
            subnets,
        })
    }

    /// The parent.
    pub(crate) fn parent(&self) -> IfName {
        let named = self.config.parent.clone();
        named.unwrap_or_else(|| isolated_name(&self.id))
    }

    /// Whether nothing leads out of it: as asked for, or for want of a wire.
    pub(crate) fn is_internal(&self) -> bool {
        self.options.common.internal || self.config.isolated
    }

    /// The addresses of an endpoint as a lease. What leads out is for dockerd to set.
    pub(crate) fn leased(&self, addresses: &[IpNetwork]) -> CniResult {
        let of = |address: &IpNetwork| IpConfig {
            interface: None,
            address: *address,
            gateway: self.subnets.gateway_for(address.ip()),
        };
        CniResult {
            ips: addresses.iter().map(of).collect(),
            ..CniResult::default()
        }
    }

    /// What both can't have of one parent.
    pub(crate) fn shares_with(&self, other: &Self) -> Option<String> {
        let parent = self.parent();
        if other.parent() != parent {
            return None;
        }
        let exclusive = [self, other].map(|one| one.config.settings.is_exclusive());
        if exclusive.contains(&true) {
            return Some(format!(
                "parent {parent}, which mode passthru would have to itself,"
            ));
        }
        let [ours, theirs] = [self, other].map(|one| one.config.settings.name());
        if ours != theirs {
            return Some(format!(
                "parent {parent} for {theirs} interfaces, which {ours} cannot be beside,"
            ));
        }
        // Of macvlan each link has a mode. Of ipvlan a new link's becomes that of all others of its parent
        // (ipvlan_link_new() in drivers/net/ipvlan).
        let [ours, theirs] = [self, other].map(|one| one.options.ipvlan_words());
        (ours != theirs).then(|| {
            format!("parent {parent} for ipvlan interfaces of {theirs}, which {ours} would change,")
        })
    }
}

/// The parent of a network that names none: "wi" and 60 bits of its identifier.
fn isolated_name(id: &NetworkName) -> IfName {
    derived_name("wi", stable_hash(&[id.as_str().as_bytes()]))
}

fn config(id: &NetworkName, options: &Options, subnets: &Subnets) -> SubInterfaceConfig {
    let settings = match options.is_ipvlan() {
        true => SubInterfaceKind::Ipvlan {
            mode: options.ipvlan_mode.unwrap_or_default(),
            reach: options.ipvlan_flag.unwrap_or_default(),
        },
        false => SubInterfaceKind::Macvlan {
            mode: options.macvlan_mode.unwrap_or_default(),
            broadcast_queue: None,
        },
    };
    let parent = options.parent.clone();
    SubInterfaceConfig {
        isolated: parent.is_none(),
        parent: Some(parent.unwrap_or_else(|| isolated_name(id))),
        parent_in: NsRef::Host,
        settings,
        mtu: options.common.mtu,
        host_access: options.host_access,
        probe: options.probes(),
        dns: Dns::default(),
        has_ipam: !subnets.is_empty(),
        // dockerd moves it, once it has a container.
        born_in: NsRef::Host,
    }
}
