//! The configuration of all three types: parsing it is validating it.
//! The CNI face makes it from a request; the driver reads it.
//! It must never hold a value that the driver would have to refuse.

use wharfline_core::plan::{NsRef, VlanParent};
use wharfline_kernel::sub_interface::{IpvlanMode, IpvlanReach, MacvlanMode, SubInterfaceKind};
use wharfline_spec::cni::{CniError, Dns, NetConf};
use wharfline_spec::fields::{BadField, Fields};
use wharfline_spec::names::{IfName, VlanId};

/// Which of the types it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A link with a MAC of its own.
    Macvlan,
    /// A link with its parent's MAC, told apart by its addresses.
    Ipvlan,
    /// One VLAN of its parent.
    Vlan,
}

impl Family {
    /// The CNI type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vlan => "vlan",
        }
    }
}

/// Keys of a network whose containers stand on a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubInterfaceConfig {
    /// `master`; `None`: the default route's link.
    pub parent: Option<IfName>,
    /// `linkInContainer`: where the parent is.
    pub parent_in: NsRef,
    /// `mode`, `vlanId` and the like.
    pub settings: SubInterfaceKind,
    /// `mtu`, bytes; `None`: the parent's.
    pub mtu: Option<u32>,
    /// `hostAccess` (ours): the host has a link beside the containers'.
    pub host_access: bool,
    /// `probeAddresses` (ours): the segment is asked for an address's owner before it is used.
    pub probe: bool,
    /// `dns`: wins over what the address plugin says.
    pub dns: Dns,
    /// Whether addresses are asked for.
    pub has_ipam: bool,
    /// Whether the parent is one of our own that leads nowhere.
    pub isolated: bool,
    /// Where containers' interfaces are made: in the container, or on the host for dockerd to move.
    pub born_in: NsRef,
}

impl SubInterfaceConfig {
    /// Reads the plugin's keys.
    ///
    /// # Errors
    /// Code 7 with the key's path, for a wrong type, a value out of range or a combination that makes no sense.
    pub(crate) fn parse(family: Family, conf: &NetConf) -> Result<Self, CniError> {
        let fields = conf.fields();
        let flag = |key: &str| Ok::<_, BadField>(fields.bool(key)?.unwrap_or(false));
        let config = Self {
            parent: parent(&fields)?,
            parent_in: match flag("linkInContainer")? {
                true => NsRef::Container,
                false => NsRef::Host,
            },
            settings: settings(family, &fields)?,
            mtu: mtu(&fields)?,
            host_access: flag("hostAccess")?,
            probe: flag("probeAddresses")?,
            dns: conf.dns.clone(),
            has_ipam: conf.ipam_type().is_some(),
            isolated: false,
            born_in: NsRef::Container,
        };
        config.refuse_contradictions(&fields)?;
        Ok(config)
    }

    fn refuse_contradictions(&self, fields: &Fields<'_>) -> Result<(), BadField> {
        if self.parent.is_none() && self.parent_in == NsRef::Container {
            return Err(fields.bad("master", "is missing beside linkInContainer"));
        }
        if self.probe && !self.has_ipam {
            return Err(fields.bad("probeAddresses", "has nothing to ask for without ipam"));
        }
        if self.probe && self.is_layer3() {
            return Err(fields.bad("probeAddresses", "modes l3 and l3s hear no answer"));
        }
        if !self.host_access {
            return Ok(());
        }
        let refusal = match (self.is_bridged(), self.has_ipam, self.parent_in) {
            (false, _, _) => {
                "needs type macvlan and mode bridge: in no other do links of one parent reach each other"
            }
            (_, false, _) => "has nothing to lead to without ipam",
            (_, _, NsRef::Container) => "is not for a parent in the container",
            _ => return Ok(()),
        };
        Err(fields.bad("hostAccess", refusal))
    }

    /// Whether interfaces reach each other over their parent as ports of a switch do.
    pub(crate) fn is_bridged(&self) -> bool {
        matches!(
            self.settings,
            SubInterfaceKind::Macvlan {
                mode: MacvlanMode::Bridge,
                ..
            }
        )
    }

    pub(crate) fn is_layer3(&self) -> bool {
        matches!(
            self.settings,
            SubInterfaceKind::Ipvlan {
                mode: IpvlanMode::L3 | IpvlanMode::L3s,
                ..
            }
        )
    }

    /// Whether interfaces have a MAC of their own: in mode passthru the kernel gives them the parent's
    /// (macvlan_common_newlink()).
    pub(crate) fn has_own_mac(&self) -> bool {
        matches!(self.settings, SubInterfaceKind::Macvlan { .. }) && !self.settings.is_exclusive()
    }

    /// The parent as a VLAN of another link, where its name says so: `eth0.10`.
    pub(crate) fn vlan_parent(&self) -> Option<VlanParent> {
        let name = self
            .parent
            .as_ref()
            .filter(|_| self.parent_in == NsRef::Host)?;
        let (under, vlan) = name.as_str().rsplit_once('.')?;
        if !vlan.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(VlanParent {
            name: name.clone(),
            under: IfName::new(under).ok()?,
            vlan: VlanId::new(vlan.parse().ok()?).ok()?,
        })
    }
}

fn parent(fields: &Fields<'_>) -> Result<Option<IfName>, BadField> {
    match fields.text("master")?.filter(|name| !name.is_empty()) {
        None => Ok(None),
        Some(name) => IfName::new(&name)
            .map(Some)
            .map_err(|e| fields.bad("master", e.to_string())),
    }
}

fn settings(family: Family, fields: &Fields<'_>) -> Result<SubInterfaceKind, BadField> {
    Ok(match family {
        Family::Macvlan => SubInterfaceKind::Macvlan {
            mode: one_of(
                fields,
                "mode",
                &[
                    ("bridge", MacvlanMode::Bridge),
                    ("private", MacvlanMode::Private),
                    ("vepa", MacvlanMode::Vepa),
                    ("passthru", MacvlanMode::Passthru),
                ],
            )?,
            broadcast_queue: fields
                .number::<u32>("bcqueuelen")?
                .filter(|length| *length > 0),
        },
        Family::Ipvlan => SubInterfaceKind::Ipvlan {
            mode: one_of(
                fields,
                "mode",
                &[
                    ("l2", IpvlanMode::L2),
                    ("l3", IpvlanMode::L3),
                    ("l3s", IpvlanMode::L3s),
                ],
            )?,
            reach: one_of(
                fields,
                "flag",
                &[
                    ("bridge", IpvlanReach::Bridge),
                    ("private", IpvlanReach::Private),
                    ("vepa", IpvlanReach::Vepa),
                ],
            )?,
        },
        Family::Vlan => SubInterfaceKind::Vlan {
            id: vlan_id(fields)?,
        },
    })
}

fn vlan_id(fields: &Fields<'_>) -> Result<VlanId, BadField> {
    let id = fields.number::<u32>("vlanId")?;
    let id = id.ok_or_else(|| fields.bad("vlanId", "is missing"))?;
    VlanId::new(id).map_err(|e| fields.bad("vlanId", e.to_string()))
}

/// One of the words; the first where the key is absent or empty.
fn one_of<T: Copy>(fields: &Fields<'_>, key: &str, words: &[(&str, T)]) -> Result<T, BadField> {
    let given = fields.str(key)?.unwrap_or_default();
    let found = words
        .iter()
        .find(|(word, _)| given.is_empty() || *word == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        fields.bad(key, format!("{given:?} is none of {}", words.join(", ")))
    })
}

/// 68 bytes is the least that IPv4 allows (RFC 791).
fn mtu(fields: &Fields<'_>) -> Result<Option<u32>, BadField> {
    match fields.number::<u32>("mtu")? {
        None | Some(0) => Ok(None),
        Some(mtu @ 68..=65_535) => Ok(Some(mtu)),
        Some(other) => Err(fields.bad("mtu", format!("{other} is not between 68 and 65535"))),
    }
}

#[cfg(test)]
mod tests;
