//! What a driver decides about links that stand on another one.
//! Drivers of sub-interfaces put these into their plans; `core/src/sub_interface.rs` performs and removes them.
//! It must never hold an index: parents are named, and looked up when it is done.

use std::fmt;

use macaddr::MacAddr6;
use serde::{Deserialize, Serialize};
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::sub_interface::SubInterfaceKind;
use wharfline_spec::names::{IfName, VlanId};

use super::NsRef;
use crate::mac;

/// The link that others stand on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name.
    pub name: IfName,
    /// Where it is: on the host, or in the container (`linkInContainer`).
    pub ns: NsRef,
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ns {
            NsRef::Host => write!(f, "link {} on the host", self.name),
            NsRef::Container => write!(f, "link {} in the container", self.name),
        }
    }
}

/// A sub-interface to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubInterface {
    /// Which one.
    #[serde(flatten)]
    pub identity: SubInterfaceIdentity,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// What it is.
    pub settings: SubInterfaceKind,
}

/// What tells a sub-interface of ours from another link of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubInterfaceIdentity {
    /// Its name.
    pub link: IfName,
    /// The name that it may bear for its first moment, one that no other link has.
    pub born_as: IfName,
    /// Where it lives.
    pub ns: NsRef,
    /// The link that it stands on.
    pub parent: Parent,
    /// The kernel's word for its kind.
    pub kind: String,
    /// Its MAC, where it has one of its own.
    #[serde(
        default,
        with = "mac::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub mac: Option<MacAddr6>,
}

impl SubInterfaceIdentity {
    /// The MAC that it bears while it asks its segment for the owner of an address. Its own is made from the address:
    /// another host's container at the same address would have the same one, and the answer never arrive.
    pub(crate) fn probing_mac(&self) -> Option<MacAddr6> {
        self.mac.map(|_| {
            let tail = (stable_hash(&[self.born_as.as_str().as_bytes()]) as u32).to_be_bytes();
            MacAddr6::new(0x0a, 0x5c, tail[0], tail[1], tail[2], tail[3])
        })
    }
}

/// A parent of ours: the frames of one VLAN of another link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanParent {
    /// Its name, `<under>.<vlan>`.
    pub name: IfName,
    /// The link that it stands on.
    pub under: IfName,
    /// The VLAN.
    pub vlan: VlanId,
}

/// A parent of ours that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolatedParent {
    /// Its name.
    pub name: IfName,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// The text beside it.
    pub alias: String,
}

/// A link of the host's beside the containers' on their parent, so that host and containers reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostShim {
    /// Its name.
    pub link: IfName,
    /// Its MAC.
    #[serde(with = "mac")]
    pub mac: MacAddr6,
    /// The parent.
    pub parent: IfName,
    /// The text beside it.
    pub alias: String,
}
