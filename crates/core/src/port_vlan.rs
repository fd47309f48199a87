//! The VLANs of a bridge port: which ones a plan wants, and setting them.
//! Ports of containers and the bridge's own foot in a VLAN go through it; CHECK compares by it.
//! It must never touch a VLAN that another attachment has on the port.

use wharfline_kernel::bridge_port::PortVlan;
use wharfline_spec::names::VlanId;

use crate::error::{Error, ErrorKind, Result};
use crate::outcome::or_absent;
use crate::plan::Port;
use crate::session::Session;

/// The VLAN that the kernel puts each new port in.
const DEFAULT_VLAN: u32 = 1;

/// A port with VLANs of its own leaves VLAN 1, unless it is to stay (`preserveDefaultVlan`).
pub(crate) fn set_vlans(session: &Session, index: u32, port: &Port) -> Result<()> {
    if !port.has_vlans() {
        return Ok(());
    }
    for vlan in wanted_vlans(port) {
        session.host().add_port_vlan(index, vlan, false)?;
    }
    let default =
        VlanId::new(DEFAULT_VLAN).map_err(|e| Error::new(ErrorKind::Bug, e.to_string()))?;
    let asked_for = port.native_vlan == Some(default) || port.trunk.contains(&default);
    if port.keep_default_vlan || asked_for {
        return Ok(());
    }
    or_absent(session.host().delete_port_vlan(index, default))
}

/// The VLANs that a port is to carry, its native one included.
pub(crate) fn wanted_vlans(port: &Port) -> Vec<PortVlan> {
    let native = port.native_vlan.map(|id| PortVlan { id, native: true });
    let tagged = port
        .trunk
        .iter()
        .filter(|id| Some(**id) != port.native_vlan)
        .map(|id| PortVlan {
            id: *id,
            native: false,
        });
    native.into_iter().chain(tagged).collect()
}
