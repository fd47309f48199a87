//! More ports than one bridge can have: further bridges, cascaded by veth pairs into one broadcast domain.
//! `perform` places each veth pair through it, `remove` tells it of each freed port.
//! It must never move an endpoint that carries traffic.
//!
//! A bridge takes 250 ports before the next one is cascaded to it, though the kernel would let it have 1,023: a broadcast
//! becomes one packet a port, a processor's backlog takes 1,000 of them (net.core.netdev_max_backlog), and of several at once
//! some ports would never hear (moby#34098: 1,001 of 1,023 reachable).
//!
//! The kernel gives a new port the lowest free number. So the port that gets number 250 tells that the bridge is full,
//! which costs nothing to find out, however many ports there are; its place is taken by the cascade.

use nix::errno::Errno;
use wharfline_kernel::KernelError;
use wharfline_kernel::hash::stable_hash;
use wharfline_kernel::link::{Link, LinkKey, NewBridge, VethPair};
use wharfline_kernel::nft::Element;
use wharfline_spec::names::IfName;

use crate::attachment::{bridge_mac, derived_name};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{Lock, Mode};
use crate::outcome::{or_absent, vanished};
use crate::plan::{NsRef, Overflow, Veth};
use crate::session::Session;
use crate::state;
use crate::undo::Undo;

/// Highest port number of a bridge (net/bridge/br_private.h: BR_MAX_PORTS, of which 0 is never given).
pub const LAST_PORT: u16 = 1023;
/// Number of the port that leads to the next bridge of a network.
pub const CASCADE_PORT: u16 = 250;
/// Bridges of one network; a million endpoints are beyond any host.
const MAX_MEMBERS: u32 = 1024;

/// The member bridge `number` of `bridge`; number 0 is the bridge itself.
pub fn member_name(bridge: &IfName, number: u32) -> IfName {
    match number {
        0 => bridge.clone(),
        _ => name("wb", bridge, number),
    }
}

/// Both ends of the cascade between the members `number - 1` and `number`.
pub fn cascade_ends(bridge: &IfName, number: u32) -> [IfName; 2] {
    [name("wu", bridge, number), name("wd", bridge, number)]
}

fn name(prefix: &str, bridge: &IfName, number: u32) -> IfName {
    let parts = [bridge.as_str().as_bytes(), &number.to_be_bytes()];
    derived_name(prefix, stable_hash(&parts))
}

/// How many members `bridge` has besides itself, as last noted.
pub fn members_noted(session: &Session, bridge: &IfName) -> u32 {
    Members { session, bridge }.noted().members
}

/// Creates the pair, on the first member that is known to have a port left where it is to be on a bridge.
pub(crate) fn create_veth(session: &Session, veth: &Veth) -> Result<Undo> {
    let undo = Undo::Link {
        name: veth.host_end.clone(),
        mac: veth.host_mac,
    };
    let Some(port_of) = &veth.port_of else {
        create_on(session, veth, None)?;
        return settled(session, veth, undo, |_| Ok(()));
    };
    let members = Members {
        session,
        bridge: &port_of.bridge,
    };
    let mut number = match port_of.overflow {
        Overflow::Cascade => members.noted().first_with_room,
        Overflow::None => 0,
    };
    loop {
        let kept = members.keep(number)?;
        let index = session.index(NsRef::Host, &member_name(&port_of.bridge, number))?;
        match create_on(session, veth, Some(index)) {
            Ok(()) => {
                drop(kept);
                return settled(session, veth, undo, |link| {
                    match port_of.overflow == Overflow::Cascade && is_last(link) {
                        true => members.overflow_from(number, link),
                        false => Ok(()),
                    }
                });
            }
            Err(full) if full.errno() == Errno::EXFULL => {
                drop(kept);
                if port_of.overflow == Overflow::None || number + 1 >= MAX_MEMBERS {
                    return Err(full_error(&port_of.bridge, full));
                }
                number += 1;
                members.note_first_with_room(number)?;
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// Sees to the pair that was just made. It is there: a failure takes it back here, since the transaction has no undo of
/// an operation that failed.
fn settled(
    session: &Session,
    veth: &Veth,
    undo: Undo,
    look_after: impl FnOnce(&Link) -> Result<()>,
) -> Result<Undo> {
    let found = || -> Result<Link> {
        let link = session.link(NsRef::Host, &veth.host_end)?;
        let link = link.ok_or_else(|| vanished(&veth.host_end))?;
        // A veth's lower link is its other end: the container need not be asked for it.
        if let Some(index) = link.lower {
            session.remember(veth.born_in, &veth.container_end, index);
        }
        Ok(link)
    };
    let Err(mut failure) = found().and_then(|link| look_after(&link)) else {
        return Ok(undo);
    };
    if let Err(left) = undo.run(session) {
        failure.add_failed_undo(left.within("undo"));
    }
    Err(failure)
}

fn create_on(session: &Session, veth: &Veth, bridge: Option<u32>) -> wharfline_kernel::Result<()> {
    let netns = match veth.born_in {
        NsRef::Host => None,
        NsRef::Container => Some(
            session
                .container_netns()
                .map_err(|_| KernelError::new("find the container's namespace", Errno::ENOENT))?,
        ),
    };
    session.host().create_veth(&VethPair {
        host_end: &veth.host_end,
        host_mac: veth.host_mac,
        controller: bridge,
        // Raised when it has been looked at: the look at a port that is up, and whose carrier has just changed, walks
        // every IPv6 route of the host (rtnl_getlink, linkwatch_sync_dev).
        host_up: false,
        peer: &veth.container_end,
        peer_mac: veth.container_mac,
        peer_netns: netns.map(std::os::fd::AsFd::as_fd),
        mtu: veth.mtu,
    })
}

fn is_last(link: &Link) -> bool {
    link.port.is_some_and(|port| port.number >= CASCADE_PORT)
}

fn full_error(bridge: &IfName, refusal: KernelError) -> Error {
    Error::new(
        ErrorKind::Exhausted,
        format!("bridge {bridge} is full ({LAST_PORT}/{LAST_PORT})"),
    )
    .because(refusal)
}

/// Takes note that a port of the bridge with index `controller` is free; a member without endpoints goes.
pub(crate) fn port_was_freed(session: &Session, controller: Option<u32>) -> Result<()> {
    // Nothing was ever cascaded on this host: the usual case, at the price of one stat(2).
    let Some(index) = controller else {
        return Ok(());
    };
    if !session.state().note("cascade").is_dir() {
        return Ok(());
    }
    let Some(link) = session.host().link(LinkKey::Index(index))? else {
        return Ok(());
    };
    let Some((bridge, number)) = member_of(&link) else {
        return Ok(());
    };
    let members = Members {
        session,
        bridge: &bridge,
    };
    members.note_freed(number)?;
    members.shrink()
}

/// Which bridge's member a link is: our alias says it of all but the first.
fn member_of(link: &Link) -> Option<(IfName, u32)> {
    let alias = link.alias.as_deref().unwrap_or_default();
    match alias.strip_prefix("wharfline member ") {
        Some(member) => {
            let (number, bridge) = member.split_once(" of ")?;
            Some((IfName::new(bridge).ok()?, number.parse().ok()?))
        }
        None => Some((IfName::new(&link.name).ok()?, 0)),
    }
}

/// The bridges of one network.
struct Members<'a> {
    session: &'a Session,
    bridge: &'a IfName,
}

/// What is remembered of them. Never trusted: a full member answers EXFULL, a missing one is made.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
struct Noted {
    members: u32,
    first_with_room: u32,
}

impl Members<'_> {
    fn note_path(&self) -> std::path::PathBuf {
        self.session
            .state()
            .note("cascade")
            .join(self.bridge.as_str())
    }

    fn noted(&self) -> Noted {
        std::fs::read(self.note_path())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn note(&self, noted: Noted) -> Result<()> {
        if noted.members == 0 {
            return state::remove(&self.note_path());
        }
        let text = format!(
            "{{\"members\":{},\"first_with_room\":{}}}",
            noted.members, noted.first_with_room
        );
        state::write_whole(&self.note_path(), text.as_bytes())
    }

    fn note_first_with_room(&self, number: u32) -> Result<()> {
        let noted = self.noted();
        self.note(Noted {
            members: noted.members.max(number),
            first_with_room: number,
        })
    }

    fn note_freed(&self, number: u32) -> Result<()> {
        let noted = self.noted();
        if number >= noted.first_with_room {
            return Ok(());
        }
        self.note(Noted {
            first_with_room: number,
            ..noted
        })
    }

    fn lock(&self, mode: Mode) -> Result<Lock> {
        let name = format!("cascade-{}", self.bridge);
        Lock::acquire(&self.session.state().lock(&name), mode)
    }

    /// Keeps the member from being taken away while an endpoint is put on it; makes it where it is missing.
    fn keep(&self, number: u32) -> Result<Option<Lock>> {
        if number == 0 {
            return Ok(None);
        }
        loop {
            let kept = self.lock(Mode::Shared)?;
            if self.find(number)?.is_some() {
                return Ok(Some(kept));
            }
            drop(kept);
            let _alone = self.lock(Mode::Exclusive)?;
            self.ensure(number)?;
        }
    }

    fn find(&self, number: u32) -> Result<Option<Link>> {
        self.session
            .link(NsRef::Host, &member_name(self.bridge, number))
    }

    /// `link` got the last port that member `number` is to have: it makes room for the cascade and goes to the next member.
    fn overflow_from(&self, number: u32, link: &Link) -> Result<()> {
        let _alone = self.lock(Mode::Exclusive)?;
        if self.find(number + 1)?.is_some() {
            // Others filled the bridge meanwhile: this one stays where it is, who comes later goes on.
            return self.note_first_with_room(number + 1);
        }
        let host = self.session.host();
        host.set_controller(link.index, None)?;
        let next = self.ensure(number + 1)?;
        host.set_controller(link.index, Some(next.index))?;
        self.note(Noted {
            members: number + 1,
            first_with_room: number + 1,
        })
    }

    /// Makes the member `number` and its cascade to the one before. Needs the lock, alone.
    fn ensure(&self, number: u32) -> Result<Link> {
        if let Some(there) = self.find(number)? {
            return Ok(there);
        }
        let before = self
            .find(number - 1)?
            .ok_or_else(|| vanished(&member_name(self.bridge, number - 1)))?;
        let member = self.create_member(number, &before)?;
        if let Err(failure) = self.create_cascade(number, &before, &member) {
            // A member without a way to the others would swallow every endpoint put on it.
            or_absent(
                self.session
                    .host()
                    .delete_link(LinkKey::Index(member.index)),
            )?;
            return Err(failure);
        }
        Ok(member)
    }

    fn create_member(&self, number: u32, before: &Link) -> Result<Link> {
        let host = self.session.host();
        let name = member_name(self.bridge, number);
        host.create_bridge(&NewBridge {
            name: &name,
            mac: bridge_mac(&name),
            mtu: before.mtu,
            vlan_filtering: before.vlan_filtering,
        })?;
        let member = self
            .session
            .link(NsRef::Host, &name)?
            .ok_or_else(|| vanished(&name))?;
        // It only carries frames: an address of its own would answer for the host a second time.
        let key = format!("net/ipv6/conf/{name}/disable_ipv6");
        self.session.ensure_sysctl(NsRef::Host, &key, "1", true)?;
        host.set_alias(
            member.index,
            &format!("wharfline member {number} of {}", self.bridge),
        )?;
        host.set_up(member.index, true)?;
        Ok(member)
    }

    fn create_cascade(&self, number: u32, before: &Link, member: &Link) -> Result<()> {
        let host = self.session.host();
        let [upper, lower] = cascade_ends(self.bridge, number);
        let created = host.create_veth(&VethPair {
            host_end: &upper,
            host_mac: bridge_mac(&upper),
            controller: Some(before.index),
            host_up: true,
            peer: &lower,
            peer_mac: bridge_mac(&lower),
            peer_netns: None,
            mtu: before.mtu,
        });
        created.map_err(|refusal| match refusal.errno() {
            Errno::EXFULL => full_error(self.bridge, refusal),
            _ => refusal.into(),
        })?;
        for end in [&upper, &lower] {
            let key = format!("net/ipv6/conf/{end}/disable_ipv6");
            self.session.ensure_sysctl(NsRef::Host, &key, "1", true)?;
        }
        let lower_index = self.session.index(NsRef::Host, &lower)?;
        host.set_controller(lower_index, Some(member.index))?;
        if before.vlan_filtering {
            let upper_index = self.session.index(NsRef::Host, &upper)?;
            host.add_all_port_vlans(upper_index)?;
            host.add_all_port_vlans(lower_index)?;
        }
        Ok(host.set_up(lower_index, true)?)
    }

    /// Takes away the members at the end that have no endpoint any more. If somebody is just putting one on, they stay.
    fn shrink(&self) -> Result<()> {
        let name = format!("cascade-{}", self.bridge);
        let path = self.session.state().lock(&name);
        let Some(alone) = Lock::try_acquire(&path, Mode::Exclusive)? else {
            return Ok(());
        };
        let mut noted = self.noted();
        while noted.members > 0 && self.remove_if_unused(noted.members)? {
            noted.members -= 1;
            noted.first_with_room = noted.first_with_room.min(noted.members);
            self.note(noted)?;
        }
        if noted.members == 0 {
            self.note(noted)?;
            return alone.remove(&path);
        }
        Ok(())
    }

    fn remove_if_unused(&self, number: u32) -> Result<bool> {
        let Some(member) = self.find(number)? else {
            return Ok(true);
        };
        let host = self.session.host();
        let [upper, lower] = cascade_ends(self.bridge, number);
        let ports = host.ports(member.index)?;
        if ports.iter().any(|port| port.name != lower.as_str()) {
            return Ok(false);
        }
        for link in [&upper, &member_name(self.bridge, number)] {
            self.session.forget(NsRef::Host, link);
            or_absent(host.delete_link(LinkKey::Name(link)))?;
        }
        Ok(true)
    }
}

/// The marks of every cascade of `bridge`, for isolation across its members.
pub fn cascade_elements(bridge: &IfName, members: u32) -> Vec<Element> {
    (1..=members)
        .flat_map(|number| cascade_ends(bridge, number))
        .map(|ifname| Element::Cascade {
            ifname: ifname.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
