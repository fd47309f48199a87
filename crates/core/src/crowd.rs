//! A bridge with so many ports that it can no longer ask them all who has an address.
//! `cascade` calls it for each new port of a network's first bridge.
//! It must never change anything for a bridge that is not crowded.
//!
//! A broadcast becomes one packet a port, and a processor's backlog takes 1,000 (net.core.netdev_max_backlog, which no
//! namespace has for itself): the ports that come last never hear an ARP request, however often it is repeated
//! (moby#34098: 1,001 of 1,023 reachable). A crowded bridge answers by itself instead, from the neighbours that each ADD
//! tells the host, and remembers where a silent container is.

use std::path::PathBuf;

use wharfline_kernel::link::Link;
use wharfline_spec::names::IfName;

use crate::error::Result;
use crate::plan::NsRef;
use crate::session::Session;
use crate::state;

/// Ports from which on a bridge is crowded: half the backlog, so that a flood finds room beside other traffic.
const CROWD: u16 = 512;

/// Thirty days, in hundredths of a second; the default of 300 s would forget a silent container's port.
const AGEING_TIME: u32 = 30 * 24 * 3600 * 100;

/// Makes the new port `link` of `bridge` one of its crowd, if there is one.
pub(crate) fn join(session: &Session, bridge: &IfName, link: &Link) -> Result<()> {
    if is_crowded(session, bridge) {
        return Ok(session.host().set_proxy_arp(link.index)?);
    }
    match link.port {
        Some(port) if port.number >= CROWD => gather(session, bridge),
        _ => Ok(()),
    }
}

/// Whether the bridge answers by itself.
pub(crate) fn is_crowded(session: &Session, bridge: &IfName) -> bool {
    note(session, bridge).exists()
}

/// Once in a bridge's life: every port that it has by now.
fn gather(session: &Session, bridge: &IfName) -> Result<()> {
    let host = session.host();
    let index = session.index(NsRef::Host, bridge)?;
    // Noted first: who comes meanwhile joins by itself.
    state::write_whole(&note(session, bridge), b"")?;
    host.set_ageing_time(index, AGEING_TIME)?;
    for port in host.ports(index)? {
        match host.set_proxy_arp(port.index) {
            Err(refusal) if !refusal.is_absent() => return Err(refusal.into()),
            _ => {}
        }
    }
    Ok(())
}

fn note(session: &Session, bridge: &IfName) -> PathBuf {
    session.state().note("crowd").join(bridge.as_str())
}
