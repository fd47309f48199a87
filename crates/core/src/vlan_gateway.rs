//! The host's own foot in one VLAN of a bridge: a veth pair, one end named `<bridge>.<vlan>`, the other a port.
//! `perform` makes it for a bridge with `vlan` and a gateway address.
//! It must never give the bridge itself the address: that would be in another VLAN.

use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::link::VethPair;
use wharfline_spec::names::IfName;

use crate::attachment::{bridge_mac, derived_name};
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{or_present, vanished};
use crate::plan::{NsRef, Op, Port};
use crate::port_vlan::set_vlans;
use crate::session::Session;

/// The bridge's end of the pair whose host end is `gateway`.
pub fn port_name(gateway: &IfName) -> IfName {
    derived_name("wv", stable_hash(&[gateway.as_str().as_bytes()]))
}

/// Makes sure that the link is there, up, and in its VLAN.
pub(crate) fn ensure(session: &Session, op: &Op) -> Result<()> {
    let Op::EnsureVlanGateway {
        bridge,
        gateway,
        vlan,
        keep_default_vlan,
    } = op
    else {
        return Err(Error::new(
            ErrorKind::Bug,
            "not an operation on a VLAN gateway",
        ));
    };
    if session.link(NsRef::Host, gateway)?.is_none() {
        create(session, bridge, gateway)?;
    }
    let port = Port {
        link: port_name(gateway),
        hairpin: false,
        isolated: false,
        native_vlan: Some(*vlan),
        trunk: Vec::new(),
        keep_default_vlan: *keep_default_vlan,
    };
    // A link of this name that the reference or an administrator made leads into the VLAN by a port of its own.
    if let Some(found) = session.link(NsRef::Host, &port.link)? {
        set_vlans(session, found.index, &port)?;
    }
    let gateway_index = session.index(NsRef::Host, gateway)?;
    Ok(session.host().set_up(gateway_index, true)?)
}

fn create(session: &Session, bridge: &IfName, gateway: &IfName) -> Result<()> {
    let bridge = session
        .link(NsRef::Host, bridge)?
        .ok_or_else(|| vanished(bridge))?;
    let port = port_name(gateway);
    let created = session.host().create_veth(&VethPair {
        host_end: &port,
        host_mac: bridge_mac(&port),
        controller: Some(bridge.index),
        host_up: true,
        peer: gateway,
        peer_mac: bridge_mac(gateway),
        peer_netns: None,
        mtu: bridge.mtu,
    });
    or_present(created)
}
