//! The bridge plugin's configuration: parsing it is validating it.
//! The CNI face makes it from a request; the driver reads it.
//! It must never hold a value that the driver would have to refuse.

use ipnetwork::IpNetwork;
use wharfline_core::attachment::derived_name;
use wharfline_core::plan::{NsRef, Overflow};
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::nft::Boundary;
use wharfline_spec::cni::{CniError, Dns, NetConf};
use wharfline_spec::fields::{BadField, Fields};
use wharfline_spec::names::{IfName, VlanId};

/// The bridge when none is named (the reference's default).
const DEFAULT_BRIDGE: &str = "cni0";

/// The VLAN that the kernel puts each new port in.
const DEFAULT_VLAN: u32 = 1;

/// Keys of a network whose containers are plugged into a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeConfig {
    /// `bridge`: its name.
    pub bridge: IfName,
    /// `isGateway`: the bridge has the gateway's address.
    pub is_gateway: bool,
    /// `isDefaultGateway`: it is the containers' default route as well.
    pub is_default_gateway: bool,
    /// `forceAddress`: another address of the bridge gives way.
    pub force_address: bool,
    /// `ipMasq`: what leaves the subnet leaves with the host's address; Docker asks for it by family.
    pub masquerade: Families,
    /// `mtu`, bytes; `None` derives it.
    pub mtu: Option<u32>,
    /// `hairpinMode`.
    pub hairpin: bool,
    /// `promiscMode`.
    pub promiscuous: bool,
    /// `vlan`: the containers' VLAN, untagged towards them.
    pub vlan: Option<VlanId>,
    /// `vlanTrunk`: VLANs that pass tagged.
    pub trunk: Vec<VlanId>,
    /// `preserveDefaultVlan`: ports with VLANs of their own stay in VLAN 1 as well.
    pub keep_default_vlan: bool,
    /// `macspoofchk`: frames with a MAC that is not the container's are dropped.
    pub mac_spoof_check: bool,
    /// `enabledad`: IPv6 looks for another owner of an address first.
    pub detect_duplicates: bool,
    /// `disableContainerInterface`: the container's end stays down.
    pub container_interface_down: bool,
    /// `portIsolation`: containers reach the gateway, not each other.
    pub isolated: bool,
    /// `keepBridge` (ours): the bridge stays when the last container goes.
    pub keep_bridge: bool,
    /// `overflow` (ours): what happens when a bridge is full.
    pub overflow: Overflow,
    /// `dns`: wins over what the address plugin says.
    pub dns: Dns,
    /// Whether addresses are asked for.
    pub has_ipam: bool,
    /// What keeps the network apart from others; nothing keeps CNI's.
    pub boundary: Vec<Boundary>,
    /// Where containers' ends are made: in the container, or on the host for dockerd to move.
    pub born_in: NsRef,
    /// Whether a lease without a gateway has the first host of its subnet for one, as with the reference.
    pub implies_gateway: bool,
    /// Whether the bridge may have several IPv4 subnets beside each other.
    pub several_subnets: bool,
    /// Whether the reference plugins may have served the attachment before.
    pub succeeds_reference: bool,
}

/// One or both of IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Families {
    /// Neither.
    pub(crate) const NONE: Self = Self {
        v4: false,
        v6: false,
    };

    /// Whatever family an address has.
    pub(crate) const BOTH: Self = Self { v4: true, v6: true };

    /// Whether there is one.
    pub(crate) fn any(self) -> bool {
        self.v4 || self.v6
    }

    /// Whether the family of `network` is among them.
    pub(crate) fn has(self, network: IpNetwork) -> bool {
        if network.is_ipv6() { self.v6 } else { self.v4 }
    }
}

impl BridgeConfig {
    /// Reads the plugin's keys.
    ///
    /// # Errors
    /// Code 7 with the key's path, for a wrong type, a value out of range or a combination that makes no sense.
    pub(crate) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let fields = conf.fields();
        let flag = |key: &str| Ok::<_, BadField>(fields.bool(key)?.unwrap_or(false));
        let is_default_gateway = flag("isDefaultGateway")?;
        let config = Self {
            is_gateway: flag("isGateway")? || is_default_gateway,
            is_default_gateway,
            force_address: flag("forceAddress")?,
            masquerade: match flag("ipMasq")? {
                true => Families::BOTH,
                false => Families::NONE,
            },
            mtu: mtu(&fields)?,
            hairpin: flag("hairpinMode")?,
            promiscuous: flag("promiscMode")?,
            vlan: vlan(&fields)?,
            trunk: trunk(&fields)?,
            keep_default_vlan: flag("preserveDefaultVlan")?,
            mac_spoof_check: flag("macspoofchk")?,
            detect_duplicates: flag("enabledad")?,
            container_interface_down: flag("disableContainerInterface")?,
            isolated: flag("portIsolation")?,
            keep_bridge: fields.bool("keepBridge")?.unwrap_or(true),
            overflow: overflow(&fields)?,
            dns: conf.dns.clone(),
            has_ipam: conf.ipam_type().is_some(),
            ..Self::bare(bridge_name(&fields)?)
        };
        masquerade_backend(&fields)?;
        config.refuse_contradictions(&fields)?;
        Ok(config)
    }

    fn refuse_contradictions(&self, fields: &Fields<'_>) -> Result<(), BadField> {
        if self.hairpin && self.promiscuous {
            return Err(fields.bad(
                "promiscMode",
                "cannot be together with hairpinMode: every frame would come back twice",
            ));
        }
        if self.container_interface_down && self.has_ipam {
            return Err(fields.bad(
                "disableContainerInterface",
                "cannot be together with ipam: an interface that is down has no use for an address",
            ));
        }
        Ok(())
    }

    /// Whether ports carry VLANs of their own.
    pub(crate) fn has_vlans(&self) -> bool {
        self.vlan.is_some() || !self.trunk.is_empty()
    }

    /// The VLAN of a port's untagged frames. A trunk without `vlan` has the kernel's own, as with the reference.
    pub(crate) fn native_vlan(&self) -> Option<VlanId> {
        match (self.vlan, self.trunk.is_empty()) {
            (None, false) => VlanId::new(DEFAULT_VLAN).ok(),
            (vlan, _) => vlan,
        }
    }

    /// The port's own flag ends at its bridge; where the network may have several, our table carries it on.
    pub(crate) fn isolates_members(&self) -> bool {
        self.isolated && self.overflow == Overflow::Cascade
    }

    /// Whether anything of the network stands in nftables, whatever firewall the host has.
    pub(crate) fn needs_tables(&self) -> bool {
        self.masquerade.any()
            || self.mac_spoof_check
            || self.isolates_members()
            || !self.boundary.is_empty()
    }

    /// A plain bridge of CNI's without addresses, masquerading or anything else that a network may ask for.
    pub(crate) fn bare(bridge: IfName) -> Self {
        Self {
            bridge,
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            masquerade: Families::NONE,
            mtu: None,
            hairpin: false,
            promiscuous: false,
            vlan: None,
            trunk: Vec::new(),
            keep_default_vlan: false,
            mac_spoof_check: false,
            detect_duplicates: false,
            container_interface_down: false,
            isolated: false,
            keep_bridge: true,
            overflow: Overflow::Cascade,
            dns: Dns::default(),
            has_ipam: false,
            boundary: Vec::new(),
            born_in: NsRef::Container,
            implies_gateway: true,
            several_subnets: false,
            succeeds_reference: true,
        }
    }

    /// The link that has the gateway's address: the bridge, or its foot in the containers' VLAN.
    pub(crate) fn gateway_link(&self) -> IfName {
        let Some(vlan) = self.vlan else {
            return self.bridge.clone();
        };
        let plain = format!("{}.{vlan}", self.bridge, vlan = vlan.get());
        // A long bridge name leaves no room for the number.
        IfName::new(&plain).unwrap_or_else(|_| derived_name("wg", stable_hash(&[plain.as_bytes()])))
    }
}

fn bridge_name(fields: &Fields<'_>) -> Result<IfName, BadField> {
    let name = fields.text("bridge")?;
    IfName::new(name.as_deref().unwrap_or(DEFAULT_BRIDGE))
        .map_err(|e| fields.bad("bridge", e.to_string()))
}

/// 68 bytes is the least that IPv4 allows (RFC 791), 65,535 the most that a veth takes.
pub(crate) fn mtu(fields: &Fields<'_>) -> Result<Option<u32>, BadField> {
    match fields.number::<u32>("mtu")? {
        None | Some(0) => Ok(None),
        Some(mtu @ 68..=65_535) => Ok(Some(mtu)),
        Some(other) => Err(fields.bad("mtu", format!("{other} is not between 68 and 65535"))),
    }
}

fn vlan(fields: &Fields<'_>) -> Result<Option<VlanId>, BadField> {
    match fields.number::<u32>("vlan")? {
        None | Some(0) => Ok(None),
        Some(id) => VlanId::new(id)
            .map(Some)
            .map_err(|e| fields.bad("vlan", e.to_string())),
    }
}

fn trunk(fields: &Fields<'_>) -> Result<Vec<VlanId>, BadField> {
    let mut vlans = Vec::new();
    for (at, item) in fields.list("vlanTrunk")? {
        vlans.extend(trunk_item(&Fields::of(item, at)?)?);
    }
    vlans.sort_unstable();
    vlans.dedup();
    Ok(vlans)
}

/// One VLAN (`id`), or all from `minID` to `maxID`.
fn trunk_item(item: &Fields<'_>) -> Result<Vec<VlanId>, BadField> {
    let id = |key: &str| -> Result<Option<VlanId>, BadField> {
        item.number::<u32>(key)?
            .map(|id| VlanId::new(id).map_err(|e| item.bad(key, e.to_string())))
            .transpose()
    };
    let (single, first, last) = (id("id")?, id("minID")?, id("maxID")?);
    let mut vlans: Vec<VlanId> = single.into_iter().collect();
    match (first, last) {
        (None, None) if single.is_none() => {
            return Err(item.bad("id", "is missing, and so are minID and maxID"));
        }
        (None, None) => {}
        (Some(first), Some(last)) if first <= last => {
            let all = u32::from(first.get())..=u32::from(last.get());
            vlans.extend(all.filter_map(|id| VlanId::new(id).ok()));
        }
        (Some(_), Some(_)) => return Err(item.bad("minID", "is greater than maxID")),
        (Some(_), None) => return Err(item.bad("maxID", "is missing beside minID")),
        (None, Some(_)) => return Err(item.bad("minID", "is missing beside maxID")),
    }
    Ok(vlans)
}

fn overflow(fields: &Fields<'_>) -> Result<Overflow, BadField> {
    match fields.str("overflow")? {
        None | Some("" | "cascade") => Ok(Overflow::Cascade),
        Some("none") => Ok(Overflow::None),
        Some(other) => Err(fields.bad("overflow", format!("{other:?} is not cascade or none"))),
    }
}

/// The reference's choice of firewall; ours is nftables whatever it says, with the same effect.
pub(crate) fn masquerade_backend(fields: &Fields<'_>) -> Result<(), BadField> {
    match fields.str("ipMasqBackend")? {
        None | Some("" | "iptables" | "nftables") => Ok(()),
        Some(other) => Err(fields.bad(
            "ipMasqBackend",
            format!("{other:?} is not iptables or nftables"),
        )),
    }
}

#[cfg(test)]
mod tests;
