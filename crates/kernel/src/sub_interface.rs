//! Links that stand on another: macvlan, ipvlan and vlan, each made in one message in the namespace where it is to live.
//! `core`'s operations call it on the socket of the parent's namespace.
//! It must never decide: parents, names and modes come from the plan.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use macaddr::MacAddr6;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags,
    IpVlanMode as KernelIpvlanMode, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use wharfline_spec::names::{IfName, VlanId};

use crate::error::Result;
use crate::route_socket::RouteSocket;

/// What a sub-interface is, and how it deals with its parent's others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SubInterfaceKind {
    /// A link with a MAC of its own on the parent's segment (drivers/net/macvlan.c).
    Macvlan {
        /// How it deals with others on the parent.
        mode: MacvlanMode,
        /// Broadcasts that may wait for delivery (IFLA_MACVLAN_BC_QUEUE_LEN); the kernel's 1,000 where not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        broadcast_queue: Option<u32>,
    },
    /// A link with the parent's MAC, told apart by its addresses (Documentation/networking/ipvlan.rst).
    Ipvlan {
        /// Where frames are handed over.
        mode: IpvlanMode,
        /// Which others on the parent it reaches.
        reach: IpvlanReach,
    },
    /// The parent's frames of one VLAN (IEEE 802.1Q).
    Vlan {
        /// The VLAN.
        id: VlanId,
    },
}

impl SubInterfaceKind {
    /// The kernel's word for it (`ip -d link`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
        }
    }

    /// Whether it must have its parent to itself.
    pub fn is_exclusive(&self) -> bool {
        matches!(
            self,
            Self::Macvlan {
                mode: MacvlanMode::Passthru,
                ..
            }
        )
    }

    fn info(&self) -> Vec<LinkInfo> {
        match self {
            Self::Macvlan {
                mode,
                broadcast_queue,
            } => {
                let mut data = vec![InfoMacVlan::Mode(mode.of_kernel())];
                data.extend(broadcast_queue.map(InfoMacVlan::BcQueueLen));
                vec![
                    LinkInfo::Kind(InfoKind::MacVlan),
                    LinkInfo::Data(InfoData::MacVlan(data)),
                ]
            }
            Self::Ipvlan { mode, reach } => {
                let data = vec![
                    InfoIpVlan::Mode(mode.of_kernel()),
                    InfoIpVlan::Flags(reach.flags()),
                ];
                vec![
                    LinkInfo::Kind(InfoKind::IpVlan),
                    LinkInfo::Data(InfoData::IpVlan(data)),
                ]
            }
            Self::Vlan { id } => vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id.get())])),
            ],
        }
    }
}

/// How a macvlan deals with others on its parent (`ip-link(8)`, "MACVLAN and MACVTAP Type Support").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// They reach each other directly.
    #[default]
    Bridge,
    /// They don't reach each other, even by a switch that sends frames back.
    Private,
    /// They reach each other by a switch that sends frames back (IEEE 802.1Qbg).
    Vepa,
    /// There are no others: it has the parent to itself.
    Passthru,
}

impl MacvlanMode {
    fn of_kernel(self) -> MacVlanMode {
        match self {
            Self::Bridge => MacVlanMode::Bridge,
            Self::Private => MacVlanMode::Private,
            Self::Vepa => MacVlanMode::Vepa,
            Self::Passthru => MacVlanMode::Passthrough,
        }
    }
}

/// Where an ipvlan hands frames over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// At layer 2: broadcasts, ARP and neighbour discovery reach it.
    #[default]
    L2,
    /// At layer 3: the parent's namespace routes for it, past its own netfilter.
    L3,
    /// At layer 3, through the parent's netfilter.
    L3s,
}

impl IpvlanMode {
    fn of_kernel(self) -> KernelIpvlanMode {
        match self {
            Self::L2 => KernelIpvlanMode::L2,
            Self::L3 => KernelIpvlanMode::L3,
            Self::L3s => KernelIpvlanMode::L3S,
        }
    }
}

/// The word of `ip link`.
impl fmt::Display for IpvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L2 => "l2",
            Self::L3 => "l3",
            Self::L3s => "l3s",
        })
    }
}

/// Which others on its parent an ipvlan reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanReach {
    /// All, directly.
    #[default]
    Bridge,
    /// None.
    Private,
    /// All, by a switch that sends frames back.
    Vepa,
}

impl IpvlanReach {
    fn flags(self) -> IpVlanFlags {
        match self {
            Self::Bridge => IpVlanFlags::empty(),
            Self::Private => IpVlanFlags::Private,
            Self::Vepa => IpVlanFlags::Vepa,
        }
    }
}

/// The word of `ip link`.
impl fmt::Display for IpvlanReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
        })
    }
}

/// A sub-interface to be made.
#[derive(Debug)]
pub struct NewSubInterface<'a> {
    /// Its name where it is to live.
    pub name: &'a IfName,
    /// Index of the link that it stands on, in the socket's namespace.
    pub parent: u32,
    /// Where it is to live; the socket's own namespace when `None`.
    pub netns: Option<BorrowedFd<'a>>,
    /// Its MAC; `None` leaves it to the kernel: random for macvlan, the parent's for the others.
    pub mac: Option<MacAddr6>,
    /// Its MTU in bytes, at most the parent's; `None`: the parent's.
    pub mtu: Option<u32>,
    /// Its group (IFLA_GROUP), a mark that it bears from birth.
    pub group: Option<u32>,
    /// What it is.
    pub kind: &'a SubInterfaceKind,
}

impl RouteSocket {
    /// Makes it.
    ///
    /// # Errors
    /// EEXIST where the name is taken, or the VLAN of that parent; before Linux 6.14 also where a link beside the parent
    /// has that name, wherever the new one is to live (rtnl_newlink() in net/core/rtnetlink.c). EINVAL or EBUSY where the parent is not shared
    /// (passthru) or can't carry it; EOPNOTSUPP where the kernel lacks the kind.
    pub fn create_sub_interface(&self, new: &NewSubInterface<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(new.name.to_string()));
        attributes.push(LinkAttribute::Link(new.parent));
        attributes.extend(
            new.netns
                .map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())),
        );
        attributes.extend(
            new.mac
                .map(|mac| LinkAttribute::Address(mac.as_bytes().to_vec())),
        );
        attributes.extend(new.mtu.map(LinkAttribute::Mtu));
        attributes.extend(new.group.map(LinkAttribute::Group));
        attributes.push(LinkAttribute::LinkInfo(new.kind.info()));
        let tried = || {
            let kind = new.kind.name();
            format!("create {kind} {} on link {}", new.name, new.parent)
        };
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, tried)
    }

    /// Whether the kernel knows links of this kind, or has a module for it. Makes none: the request names no parent.
    pub fn knows_kind(&self, kind: &SubInterfaceKind) -> Result<bool> {
        let mut message = LinkMessage::default();
        let kind = match kind.info().into_iter().next() {
            Some(word) => vec![word],
            None => Vec::new(),
        };
        message.attributes = vec![LinkAttribute::LinkInfo(kind)];
        let answer = self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, || {
            "ask for a kind of link".into()
        });
        match answer {
            // rtnl_newlink() in net/core/rtnetlink.c: "Unknown device type".
            Err(e) if e.errno() == Errno::EOPNOTSUPP => Ok(false),
            Err(e) if e.errno() == Errno::EPERM => Err(e),
            _ => Ok(true),
        }
    }
}
