//! Settings of one bridge port: hairpin, isolation, and the VLANs that it carries.
//! `core`'s operations call it after the port exists (the kernel takes none of this at creation).
//! It must never touch a port's VLANs on a bridge that does not filter by VLAN.

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridgePort, InfoPortData, InfoPortKind,
    LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage,
};
use wharfline_spec::names::VlanId;

use crate::error::Result;
use crate::route_socket::RouteSocket;

/// What a bridge's port is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgePort {
    /// The port's number, 1 to 1,023 (net/bridge/br_private.h, BR_MAX_PORTS); lowest free first.
    pub number: u16,
    /// Whether a frame may leave by the port it came in on.
    pub hairpin: bool,
    /// Whether it exchanges frames with unisolated ports only.
    pub isolated: bool,
}

/// One VLAN on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortVlan {
    /// The VLAN.
    pub id: VlanId,
    /// The port's own: untagged frames belong to it, and it leaves untagged (PVID, egress untagged).
    pub native: bool,
}

impl RouteSocket {
    /// Sets hairpin mode and isolation of the port `index`.
    pub fn set_bridge_port(&self, index: u32, hairpin: bool, isolated: bool) -> Result<()> {
        let settings = vec![
            InfoBridgePort::HairpinMode(hairpin),
            InfoBridgePort::Isolated(isolated),
        ];
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(settings)),
        ]));
        // Port data is changed by RTM_NEWLINK on an existing link; RTM_SETLINK ignores it.
        self.change(Message::NewLink(message), 0, || {
            format!("set bridge port {index}: hairpin {hairpin}, isolated {isolated}")
        })
    }

    /// Adds a VLAN to the port `index`, or to the bridge `index` itself when `of_bridge`.
    pub fn add_port_vlan(&self, index: u32, vlan: PortVlan, of_bridge: bool) -> Result<()> {
        let message = vlan_message(index, vlan, of_bridge);
        self.set(message, || format!("add VLAN {} to port {index}", vlan.id))
    }

    /// Lets the port `index` carry every VLAN but the first, tagged: a cascade between bridges of one network.
    pub fn add_all_port_vlans(&self, index: u32) -> Result<()> {
        let bound = |vid, flags| AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid });
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.header.index = index;
        message.attributes.push(LinkAttribute::AfSpecBridge(vec![
            bound(2, BridgeVlanInfoFlags::RangeBegin),
            bound(4094, BridgeVlanInfoFlags::RangeEnd),
        ]));
        self.set(message, || format!("add all VLANs to port {index}"))
    }

    /// Takes a VLAN from the port `index`.
    pub fn delete_port_vlan(&self, index: u32, vlan: VlanId) -> Result<()> {
        let vlan = PortVlan {
            id: vlan,
            native: false,
        };
        let message = vlan_message(index, vlan, false);
        self.change(Message::DelLink(message), 0, || {
            format!("delete VLAN {} from port {index}", vlan.id)
        })
    }

    /// The VLANs of the port `index`, in order.
    pub fn port_vlans(&self, index: u32) -> Result<Vec<PortVlan>> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
        let answers = self.dump(&Message::GetLink(message), || {
            format!("list the VLANs of port {index}")
        })?;
        let mut vlans: Vec<PortVlan> = answers
            .iter()
            .filter_map(|body| LinkMessage::parse(body.as_slice()).ok())
            .filter(|link| link.header.index == index)
            .flat_map(|link| vlans_of(&link))
            .collect();
        vlans.sort_unstable();
        Ok(vlans)
    }
}

fn vlan_message(index: u32, vlan: PortVlan, of_bridge: bool) -> LinkMessage {
    let mut flags = BridgeVlanInfoFlags::empty();
    if vlan.native {
        flags |= BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    }
    let mut spec = Vec::new();
    if of_bridge {
        spec.push(AfSpecBridge::Flags(
            netlink_packet_route::link::BridgeFlag::LowerDev,
        ));
    }
    spec.push(AfSpecBridge::VlanInfo(BridgeVlanInfo {
        flags,
        vid: vlan.id.get(),
    }));
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes.push(LinkAttribute::AfSpecBridge(spec));
    message
}

fn vlans_of(link: &LinkMessage) -> Vec<PortVlan> {
    let specs = link
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::AfSpecBridge(specs) => Some(specs),
            _ => None,
        });
    specs
        .flatten()
        .filter_map(|spec| match spec {
            AfSpecBridge::VlanInfo(info) => Some(PortVlan {
                id: VlanId::new(u32::from(info.vid)).ok()?,
                native: info.flags.contains(BridgeVlanInfoFlags::Pvid),
            }),
            _ => None,
        })
        .collect()
}
