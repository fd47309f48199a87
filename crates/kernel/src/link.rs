//! Links: looking them up, making bridges and veth pairs, changing and deleting them.
//! `core`'s operations call it on the host's socket or on the container's.
//! It must never decide: names, MACs and MTUs come from the plan.

use std::os::fd::{AsRawFd, BorrowedFd};

use macaddr::MacAddr6;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoVeth,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use wharfline_spec::names::IfName;

use crate::bridge_port::BridgePort;
use crate::error::{KernelError, Result};
use crate::route_socket::RouteSocket;

/// What the kernel says of one link (RTM_GETLINK, rtnetlink(7)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Interface index in its own namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// "bridge", "veth", ...; empty for a physical device.
    pub kind: String,
    /// Hardware address, where it has one of six bytes.
    pub mac: Option<MacAddr6>,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Promiscuous by its own flag (IFF_PROMISC).
    pub promiscuous: bool,
    /// Index of the link that it stands on; of a veth its other end's, in that end's namespace.
    pub lower: Option<u32>,
    /// Whether that one is in another namespace.
    pub lower_is_elsewhere: bool,
    /// Index of the bridge (or other controller) that it is a port of.
    pub controller: Option<u32>,
    /// Its group (IFLA_GROUP); 0 unless somebody gave it one.
    pub group: u32,
    /// The text that a person set or we did (ifalias).
    pub alias: Option<String>,
    /// Its bridge port's settings, when it is one.
    pub port: Option<BridgePort>,
    /// `vlan_filtering`, for a bridge.
    pub vlan_filtering: bool,
}

/// Which link a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKey<'a> {
    /// By name.
    Name(&'a IfName),
    /// By index.
    Index(u32),
}

/// A veth pair to be made in one message: no rename, no window in which it bears another name.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// Name of the end in the namespace of the socket.
    pub host_end: &'a IfName,
    /// MAC of that end.
    pub host_mac: MacAddr6,
    /// Bridge that the host end is a port of from birth.
    pub controller: Option<u32>,
    /// Whether the host end is up from birth.
    pub host_up: bool,
    /// Name of the other end.
    pub peer: &'a IfName,
    /// MAC of the other end.
    pub peer_mac: MacAddr6,
    /// Namespace that the other end is born in; the socket's own when `None`.
    pub peer_netns: Option<BorrowedFd<'a>>,
    /// MTU of both ends, bytes.
    pub mtu: u32,
}

/// A bridge to be made.
#[derive(Debug)]
pub struct NewBridge<'a> {
    /// Its name.
    pub name: &'a IfName,
    /// Its MAC, pinned: without one the bridge takes its lowest port's, and changes with the ports
    /// (net/bridge/br_stp_if.c, br_stp_recalculate_bridge_id).
    pub mac: MacAddr6,
    /// MTU in bytes; a bridge with an MTU set by hand keeps it (br_mtu_auto_adjust).
    pub mtu: u32,
    /// Whether it filters by VLAN.
    pub vlan_filtering: bool,
}

/// A kind of link without a wire: what it sends is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoneKind {
    /// drivers/net/dummy.c.
    Dummy,
    /// drivers/net/ifb.c; it loses what no traffic control sent it.
    Ifb,
}

/// A link without a wire to be made.
#[derive(Debug)]
pub struct NewLone<'a> {
    /// Its name.
    pub name: &'a IfName,
    /// Its kind.
    pub kind: LoneKind,
    /// Its MAC.
    pub mac: MacAddr6,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its group (IFLA_GROUP), a mark that it bears from birth.
    pub group: u32,
}

impl RouteSocket {
    /// The link, or `None` where there is none.
    pub fn link(&self, key: LinkKey<'_>) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        let tried = || match key {
            LinkKey::Name(name) => format!("look up link {name}"),
            LinkKey::Index(index) => format!("look up link {index}"),
        };
        match key {
            LinkKey::Name(name) => message
                .attributes
                .push(LinkAttribute::IfName(name.to_string())),
            LinkKey::Index(index) => message.header.index = index,
        }
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        match self.get(Message::GetLink(message), tried) {
            Ok(body) => Ok(Link::read(&body)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every link of the namespace.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.links_matching(Vec::new())
    }

    /// The ports of the bridge `controller`. The kernel filters; the cost is one answer per port.
    pub fn ports(&self, controller: u32) -> Result<Vec<Link>> {
        self.links_matching(vec![LinkAttribute::Controller(controller)])
    }

    fn links_matching(&self, filter: Vec<LinkAttribute>) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message.attributes = filter;
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.dump(&Message::GetLink(message), || "list links".into())?;
        Ok(answers.iter().filter_map(|body| Link::read(body)).collect())
    }

    /// Makes a bridge. EEXIST where the name is taken.
    pub fn create_bridge(&self, bridge: &NewBridge<'_>) -> Result<()> {
        let mut settings = Vec::new();
        if bridge.vlan_filtering {
            settings.push(InfoBridge::VlanFiltering(true));
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(bridge.name.to_string()),
            LinkAttribute::Address(bridge.mac.as_bytes().to_vec()),
            LinkAttribute::Mtu(bridge.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(settings)),
            ]),
        ];
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create bridge {}", bridge.name)
        })
    }

    /// Makes a link without a wire. EEXIST where the name is taken, EOPNOTSUPP where the kernel lacks the kind.
    pub fn create_lone(&self, new: &NewLone<'_>) -> Result<()> {
        let kind = match new.kind {
            LoneKind::Dummy => InfoKind::Dummy,
            LoneKind::Ifb => InfoKind::Ifb,
        };
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(new.name.to_string()),
            LinkAttribute::Address(new.mac.as_bytes().to_vec()),
            LinkAttribute::Mtu(new.mtu),
            LinkAttribute::Group(new.group),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            format!("create {:?} link {}", new.kind, new.name)
        })
    }

    /// Makes a veth pair. EEXIST where a name is taken, EXFULL where the bridge has 1,023 ports.
    pub fn create_veth(&self, pair: &VethPair<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(pair.peer.to_string()),
            LinkAttribute::Address(pair.peer_mac.as_bytes().to_vec()),
            LinkAttribute::Mtu(pair.mtu),
        ];
        peer.attributes.extend(
            pair.peer_netns
                .map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())),
        );
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(pair.host_end.to_string()),
            LinkAttribute::Address(pair.host_mac.as_bytes().to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        message
            .attributes
            .extend(pair.controller.map(LinkAttribute::Controller));
        set_up_flag(&mut message, pair.host_up);
        self.change(
            Message::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
            || match pair.controller {
                Some(bridge) => format!(
                    "create veth pair {} - {} on bridge {bridge}",
                    pair.host_end, pair.peer
                ),
                None => format!("create veth pair {} - {}", pair.host_end, pair.peer),
            },
        )
    }

    /// Sets a link up or down.
    pub fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = if up {
            LinkFlags::Up
        } else {
            LinkFlags::empty()
        };
        message.header.change_mask = LinkFlags::Up;
        self.set(message, || {
            format!("set link {index} {}", if up { "up" } else { "down" })
        })
    }

    /// Sets a bridge's new port up, says whose it is, and keeps IPv6 from giving it addresses: a port needs none, and
    /// each would cost routes, multicast groups and router solicitations that every other port hears.
    pub fn raise_port(&self, index: u32, alias: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        set_up_flag(&mut message, true);
        message.attributes = vec![
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]),
        ];
        match self.set(message.clone(), || format!("set port {index} up")) {
            // A kernel without IPv6 knows no such setting, and needs none.
            Err(e) if e.errno() == Errno::EAFNOSUPPORT || e.errno() == Errno::EINVAL => {
                message.attributes.truncate(1);
                self.set(message, || format!("set port {index} up"))
            }
            done => done,
        }
    }

    /// Sets or clears a link's promiscuous mode.
    pub fn set_promiscuous(&self, index: u32, on: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Promisc;
        if on {
            message.header.flags = LinkFlags::Promisc;
        }
        self.set(message, || format!("set link {index} promiscuous: {on}"))
    }

    /// Makes a link a port of the bridge `controller`, or of none.
    pub fn set_controller(&self, index: u32, controller: Option<u32>) -> Result<()> {
        let attribute = LinkAttribute::Controller(controller.unwrap_or(0));
        self.set_attribute(index, attribute, || match controller {
            Some(bridge) => format!("attach link {index} to bridge {bridge}"),
            None => format!("detach link {index} from its bridge"),
        })
    }

    /// Gives a link that is down another name.
    pub fn rename(&self, index: u32, name: &IfName) -> Result<()> {
        let attribute = LinkAttribute::IfName(name.to_string());
        self.set_attribute(index, attribute, || format!("name link {index} {name}"))
    }

    /// Sets a link's MAC.
    pub fn set_mac(&self, index: u32, mac: MacAddr6) -> Result<()> {
        let attribute = LinkAttribute::Address(mac.as_bytes().to_vec());
        self.set_attribute(index, attribute, || {
            format!("set MAC {mac} on link {index}")
        })
    }

    /// Sets the text that a person sees beside the link (`ip link`, ifalias; at most 255 bytes).
    pub fn set_alias(&self, index: u32, alias: &str) -> Result<()> {
        let attribute = LinkAttribute::IfAlias(alias.to_owned());
        self.set_attribute(index, attribute, || {
            format!("set the alias of link {index}")
        })
    }

    /// Switches VLAN filtering of a bridge. EOPNOTSUPP where the kernel was built without it.
    pub fn set_vlan_filtering(&self, bridge: u32, on: bool) -> Result<()> {
        let info = LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)])),
        ]);
        let mut message = LinkMessage::default();
        message.header.index = bridge;
        message.attributes.push(info);
        self.change(Message::NewLink(message), 0, || {
            format!("switch VLAN filtering of bridge {bridge}: {on}")
        })
    }

    /// Deletes a link; a veth's other end goes with it. The kernel answers after its grace periods (8 to 32 ms).
    pub fn delete_link(&self, key: LinkKey<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        let what = match key {
            LinkKey::Name(name) => {
                message
                    .attributes
                    .push(LinkAttribute::IfName(name.to_string()));
                name.to_string()
            }
            LinkKey::Index(index) => {
                message.header.index = index;
                index.to_string()
            }
        };
        self.change(Message::DelLink(message), 0, || {
            format!("delete link {what}")
        })
    }

    fn set_attribute(
        &self,
        index: u32,
        attribute: LinkAttribute,
        tried: impl FnOnce() -> String,
    ) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.set(message, tried)
    }

    pub(crate) fn set(&self, message: LinkMessage, tried: impl FnOnce() -> String) -> Result<()> {
        self.change(Message::SetLink(message), 0, tried)
    }

    /// Like [`RouteSocket::link`], where its absence is the failure.
    pub fn expect_link(&self, name: &IfName) -> Result<Link> {
        self.link(LinkKey::Name(name))?
            .ok_or_else(|| KernelError::new(format!("look up link {name}"), Errno::ENODEV))
    }
}

fn set_up_flag(message: &mut LinkMessage, up: bool) {
    if up {
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
    }
}
