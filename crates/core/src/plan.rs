//! What a driver decides: operations on the host, what the container is to see, and what to answer.
//! Drivers make it from config and facts; the engine performs it, checks against it, records its targets.
//! It must never hold a descriptor, an index or anything else that only one moment knows.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde::{Deserialize, Serialize};
use wharfline_kernel::nft::{Element, Tag};
use wharfline_kernel::route::IpRoute;
use wharfline_spec::cni::CniResult;
use wharfline_spec::names::{ContainerId, IfName, NetworkName, VlanId};

use crate::attachment::AttachmentKey;
use crate::mac;

pub mod interior;
mod sub_interface;

pub use sub_interface::{
    HostShim, IsolatedParent, Parent, SubInterface, SubInterfaceIdentity, VlanParent,
};

/// Which namespace an operation works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NsRef {
    /// The host's, where the plugin was started.
    Host,
    /// The container's.
    Container,
}

impl NsRef {
    fn is_container(&self) -> bool {
        *self == Self::Container
    }
}

/// One change, or one thing made sure of. Its undo is found when it is done (`undo.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// A kernel parameter has this value; never undone, since others may rely on it by then.
    Sysctl {
        /// Path below /proc/sys.
        key: String,
        /// The value.
        value: String,
        /// Whether a kernel without the parameter counts as done.
        optional: bool,
    },
    /// Links that accept router advertisements go on to do so while the host forwards IPv6
    /// (Documentation/networking/ip-sysctl.rst, accept_ra: 2). Goes before forwarding is switched on.
    KeepRouterAdvertisements,
    /// A bridge of this name is there and up.
    EnsureBridge(Bridge),
    /// The bridge has this address, and no other of its family unless they do not overlap (IPv6).
    EnsureBridgeAddress {
        /// The bridge.
        bridge: IfName,
        /// Address and prefix.
        network: IpNetwork,
        /// Whether another address in the way is taken off.
        force: bool,
        /// Whether other IPv4 subnets may be beside it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        beside: bool,
    },
    /// A link named `<bridge>.<vlan>` leads from the host into one VLAN of a bridge.
    EnsureVlanGateway {
        /// The bridge.
        bridge: IfName,
        /// The link's name.
        gateway: IfName,
        /// The VLAN.
        vlan: VlanId,
        /// Whether the port stays in VLAN 1 as well.
        keep_default_vlan: bool,
    },
    /// A new veth pair: one end on the host, most often on a bridge, the other in the container.
    CreateVeth(Veth),
    /// A new link that stands on another one.
    CreateSubInterface(SubInterface),
    /// A link for one VLAN of another one is there and up.
    EnsureVlanParent(VlanParent),
    /// A link without a wire is there and up, for those who stand on it to reach each other and nobody else.
    EnsureIsolatedParent(IsolatedParent),
    /// The host has a link of its own beside the containers', up and without addresses.
    EnsureHostShim(HostShim),
    /// Nobody on the link's segment has one of these addresses; the link is down afterwards.
    RequireFree {
        /// The link.
        link: SubInterfaceIdentity,
        /// The addresses.
        ips: Vec<IpAddr>,
    },
    /// An existing link becomes a port of a bridge.
    AttachPort {
        /// The link.
        link: IfName,
        /// The bridge.
        bridge: IfName,
    },
    /// Settings of a bridge's port.
    SetPort(Port),
    /// The new port is up, without IPv6 addresses of its own, and says to people whose it is.
    RaisePort {
        /// The port.
        link: IfName,
        /// The text beside it.
        alias: String,
    },
    /// The address is known to be at the MAC, for ever.
    SetNeighbour {
        /// The link that leads to it.
        link: IfName,
        /// The address.
        ip: IpAddr,
        /// Its MAC.
        #[serde(with = "mac")]
        mac: MacAddr6,
    },
    /// Everybody on the bridge is told where the address is now.
    Announce {
        /// The bridge.
        link: IfName,
        /// The address.
        ip: IpAddr,
        /// Its MAC.
        #[serde(with = "mac")]
        mac: MacAddr6,
    },
    /// Elements of our tables that several attachments share.
    EnsureElements {
        /// The elements.
        elements: Vec<Element>,
    },
    /// Elements of our tables that are this attachment's own.
    CreateElements {
        /// The elements.
        elements: Vec<Element>,
    },
    /// Elements go that stand where this attachment's are to, and whose owners are dead.
    EvictElements {
        /// Each with the mark that it bore when its owner was judged.
        elements: Vec<(Element, Tag)>,
    },
    /// Forward chains of other firewalls that drop let pass what goes over these links.
    LetThrough {
        /// The links.
        links: Vec<IfName>,
        /// Whether chains of unknown firewalls are looked for as well; it costs a dump.
        thorough: bool,
        /// Whether the links are this attachment's own, and what makes them known goes with it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        own: bool,
    },
    /// The only route to its destination, and this attachment's own; one over another link is refused.
    CreateRoute {
        /// The link.
        link: IfName,
        /// The route.
        route: IpRoute,
    },
    /// A route that several attachments share.
    EnsureRoute {
        /// The link.
        link: IfName,
        /// The route.
        route: IpRoute,
    },
    /// The link has this address.
    AddAddress {
        /// The link.
        link: IfName,
        /// Address and prefix.
        network: IpNetwork,
        /// Whether IPv6 looks for another owner first.
        detect_duplicates: bool,
        /// Whether the address brings no route to its subnet with it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        alone: bool,
    },
    /// The link is up.
    SetUp {
        /// The link.
        link: IfName,
    },
    /// No address of the link is tentative any more.
    AwaitDuplicateDetection {
        /// The link.
        link: IfName,
    },
    /// A route over the link.
    AddRoute {
        /// The link.
        link: IfName,
        /// The route.
        route: IpRoute,
    },
    /// Connections of these published ports that are older than the mapping are forgotten.
    ForgetConnections {
        /// The published ports.
        elements: Vec<Element>,
    },
}

/// A bridge to make sure of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Its name.
    pub name: IfName,
    /// Its MAC when we make it; an existing one keeps its own.
    #[serde(with = "mac")]
    pub mac: MacAddr6,
    /// Its MTU when we make it, bytes.
    pub mtu: u32,
    /// Whether it must filter by VLAN.
    pub vlan_filtering: bool,
    /// Whether it must be promiscuous.
    pub promiscuous: bool,
    /// Whether its MAC must stay what it is, because containers know it as their gateway's.
    pub pinned: bool,
}

/// A veth pair to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Veth {
    /// The host's end.
    pub host_end: IfName,
    /// MAC of the host's end.
    #[serde(with = "mac")]
    pub host_mac: MacAddr6,
    /// The container's end.
    pub container_end: IfName,
    /// Where that end is born: in the container, or on the host where somebody else takes it from.
    #[serde(skip_serializing_if = "NsRef::is_container")]
    pub born_in: NsRef,
    /// MAC of the container's end.
    #[serde(with = "mac")]
    pub container_mac: MacAddr6,
    /// MTU of both ends, bytes.
    pub mtu: u32,
    /// The bridge that the host's end is a port of; `None`: the host routes to it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub port_of: Option<PortOf>,
}

/// The bridge that a veth pair is put on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortOf {
    /// The bridge.
    pub bridge: IfName,
    /// What happens when the bridge has no port left.
    pub overflow: Overflow,
}

/// What happens when a bridge has no port left (the kernel stops at 1,023).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// A further bridge is cascaded to it, in one broadcast domain.
    #[default]
    Cascade,
    /// The attachment is refused.
    None,
}

/// Settings of a bridge's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The port.
    pub link: IfName,
    /// Whether a frame may leave where it came in.
    pub hairpin: bool,
    /// Whether it talks to unisolated ports only.
    pub isolated: bool,
    /// Untagged frames belong to this VLAN.
    pub native_vlan: Option<VlanId>,
    /// Tagged frames of these VLANs pass.
    pub trunk: Vec<VlanId>,
    /// Whether it stays in VLAN 1, which the kernel puts every port in.
    pub keep_default_vlan: bool,
}

impl Port {
    /// Whether it is what a new port is anyway.
    pub fn is_default(&self) -> bool {
        !self.hairpin && !self.isolated && !self.has_vlans()
    }

    /// Whether it asks anything of VLANs.
    pub fn has_vlans(&self) -> bool {
        self.native_vlan.is_some() || !self.trunk.is_empty()
    }
}

/// What the container is to see. CNI compiles it into operations in the container's namespace; Docker
/// answers it at CreateEndpoint and Join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct ContainerView {
    /// The link's name; `None` where this plugin gives the container no link.
    pub link: Option<IfName>,
    /// Whether the link is up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
    /// Whether addresses bring no route to their subnet with them: the way there is among the routes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Whether IPv6 looks for another owner of its addresses first.
    pub detect_duplicates: bool,
    /// The link, if its segment is asked for another owner of its addresses first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<SubInterfaceIdentity>,
    /// Its routes.
    pub routes: Vec<IpRoute>,
    /// Neighbours that it knows from the start.
    #[serde(serialize_with = "mac::serialize_pairs")]
    pub neighbours: Vec<(IpAddr, MacAddr6)>,
    /// Kernel parameters of its namespace.
    pub sysctls: Vec<(String, String)>,
}

impl ContainerView {
    /// The view as operations, in the order in which they must happen: parameters before the link is up,
    /// addresses before routes.
    pub fn operations(&self) -> Vec<(NsRef, Op)> {
        let Some(link) = &self.link else {
            return Vec::new();
        };
        let mut ops = Vec::new();
        ops.extend(self.sysctls.iter().map(|(key, value)| Op::Sysctl {
            key: key.clone(),
            value: value.clone(),
            optional: true,
        }));
        if let Some(probing) = &self.probe {
            // After the parameters: where IPv6 is off, the link does not hear its neighbours' answers.
            ops.push(Op::RequireFree {
                link: probing.clone(),
                ips: self.addresses.iter().map(IpNetwork::ip).collect(),
            });
        }
        ops.extend(self.addresses.iter().map(|network| Op::AddAddress {
            link: link.clone(),
            network: *network,
            detect_duplicates: self.detect_duplicates,
            alone: self.alone,
        }));
        if self.up {
            ops.push(Op::SetUp { link: link.clone() });
        }
        if self.detect_duplicates && self.addresses.iter().any(IpNetwork::is_ipv6) {
            ops.push(Op::AwaitDuplicateDetection { link: link.clone() });
        }
        ops.extend(self.neighbours.iter().map(|(ip, mac)| Op::SetNeighbour {
            link: link.clone(),
            ip: *ip,
            mac: *mac,
        }));
        ops.extend(self.routes.iter().map(|route| Op::AddRoute {
            link: link.clone(),
            route: route.clone(),
        }));
        ops.into_iter().map(|op| (NsRef::Container, op)).collect()
    }
}

/// Something that a teardown deletes. An absent one is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case")]
pub enum Target {
    /// A link of the host's that we made. Its other end goes with it.
    Link {
        /// Its name.
        name: IfName,
        /// Its MAC: a link of this name with another MAC is not ours.
        #[serde(with = "mac")]
        mac: MacAddr6,
    },
    /// A link of ours that stands on another one.
    SubInterface(SubInterfaceIdentity),
    /// A link for one VLAN of another one, if we made it.
    VlanParent(VlanParent),
    /// A link without a wire, if we made it.
    IsolatedParent(IsolatedParent),
    /// A link that we attached to a bridge and did not make.
    Port {
        /// Its name.
        link: IfName,
        /// The bridge.
        bridge: IfName,
    },
    /// A neighbour entry of the host's.
    Neighbour {
        /// The link.
        link: IfName,
        /// The address.
        ip: IpAddr,
    },
    /// Elements of our tables.
    Elements {
        /// The elements.
        elements: Vec<Element>,
    },
    /// Elements of this plugin's kinds that bear this attachment's mark, found by a dump.
    MarkedElements {
        /// The mark.
        tag: Tag,
    },
    /// A bridge that we made, once it has no ports.
    Bridge {
        /// Its name.
        name: IfName,
    },
    /// Our rules in other firewalls' forward chains, once no network needs them.
    LetThrough,
    /// Rules that the reference plugins left for the same attachment.
    Predecessor {
        /// The attachment's network.
        network: NetworkName,
        /// Its container.
        container: ContainerId,
        /// Its interface.
        ifname: IfName,
    },
    /// UDP flows of these published ports, which would go on to a container that is no more.
    Flows {
        /// The published ports.
        elements: Vec<Element>,
    },
    /// A route of the host's.
    Route {
        /// The link.
        link: IfName,
        /// The route.
        route: IpRoute,
    },
    /// A link of ours in the container, where no end of it is the host's.
    ContainerLinkDown {
        /// Its name.
        link: IfName,
    },
}

impl Target {
    /// What the reference plugins left of this attachment: whoever takes over from them clears it.
    pub fn predecessor(key: &AttachmentKey) -> Target {
        Target::Predecessor {
            network: key.network.clone(),
            container: key.container.clone(),
            ifname: key.ifname.clone(),
        }
    }
}

/// All that a driver decides for one attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order. The container's view is appended by the protocol that compiles it.
    pub ops: Vec<(NsRef, Op)>,
    /// What the container is to see.
    pub view: ContainerView,
    /// What DEL deletes.
    pub own: Vec<Target>,
    /// What the last DEL of the network deletes.
    pub shared: Vec<Target>,
    /// What ADD answers.
    pub result: CniResult,
}

impl Plan {
    /// Appends an operation on the host.
    pub fn on_host(&mut self, op: Op) {
        self.ops.push((NsRef::Host, op));
    }

    /// Every operation: the host's, then those that the view compiles to.
    pub fn all_operations(&self) -> Vec<(NsRef, Op)> {
        let mut ops = self.ops.clone();
        ops.extend(self.view.operations());
        ops
    }
}

#[cfg(test)]
mod tests;
