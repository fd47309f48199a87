//! Containers on sub-interfaces, as the engine sees them: what is observed, decided and torn down.
//! The engine calls it for every verb; the CNI face brings the configuration.
//! `plan` must never touch kernel, disk or clock: its tests are tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::plan::{NsRef, Parent, Plan, SubInterfaceIdentity, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_core::sub_interface::{PARENT_GROUP, lacks, parent_link};
use wharfline_kernel::link::{Link, LinkKey};
use wharfline_kernel::nft::Element;
use wharfline_spec::names::IfName;

use crate::config::{Family, SubInterfaceConfig};
use crate::plan::{Planning, SubInterfaceFacts, shim_name};

/// Public addresses, which nothing but a default route or a policy for all leads to.
const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];

/// MTU of a parent of our own where nothing says another: that of Ethernet.
pub(crate) const ETHERNET_MTU: u32 = 1500;

/// Containers on sub-interfaces of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubInterfaceDriver {
    pub(crate) family: Family,
}

impl Driver for SubInterfaceDriver {
    type Config = SubInterfaceConfig;
    type Facts = SubInterfaceFacts;

    fn name(&self) -> &'static str {
        self.family.name()
    }

    fn observe(
        &self,
        config: &SubInterfaceConfig,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<SubInterfaceFacts> {
        let parent = Parent {
            name: self.parent_name(config, endpoint, session)?,
            ns: config.parent_in,
        };
        let found = session.link(parent.ns, &parent.name)?;
        let is_ours = found.as_ref().is_none_or(|link| link.group == PARENT_GROUP);
        let link = match (found, config.vlan_parent()) {
            (Some(link), _) => link,
            (None, _) if config.isolated => Link {
                mtu: config.mtu.unwrap_or(ETHERNET_MTU),
                ..Link::default()
            },
            // It is made with what it stands on as its model.
            (None, Some(vlan)) => parent_link(
                session,
                &Parent {
                    name: vlan.under,
                    ns: NsRef::Host,
                },
            )?,
            (None, None) => parent_link(session, &parent)?,
        };
        let shim_mac = match config.host_access {
            true => {
                let shim = shim_name(&endpoint.key.network, &parent.name);
                session.link(NsRef::Host, &shim)?.and_then(|link| link.mac)
            }
            false => None,
        };
        Ok(SubInterfaceFacts {
            shim_mac,
            parent_mac: link.mac,
            parent_mtu: link.mtu,
            parent_is_ours: is_ours && config.vlan_parent().is_some(),
            host_addresses: match config.host_access {
                true => host_addresses(session, &link)?,
                false => Vec::new(),
            },
            parent,
        })
    }

    fn plan(
        &self,
        config: &SubInterfaceConfig,
        endpoint: &Endpoint<'_>,
        facts: &SubInterfaceFacts,
    ) -> Result<Plan> {
        Ok(Planning::new(config, endpoint, facts)?.plan())
    }

    /// Without a record (a host that was booted since has none) the container's namespace is gone, and the link with it.
    fn teardown(
        &self,
        config: &SubInterfaceConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        match (record, &config.parent) {
            (Some(record), _) => record.own.clone(),
            (None, Some(parent)) => vec![Target::SubInterface(SubInterfaceIdentity {
                link: key.ifname.clone(),
                born_as: key.host_end(0),
                ns: config.born_in,
                parent: Parent {
                    name: parent.clone(),
                    ns: config.parent_in,
                },
                kind: config.settings.name().to_owned(),
                mac: None,
            })],
            (None, None) => Vec::new(),
        }
    }

    fn makes_link(&self) -> bool {
        true
    }

    fn owns(&self, _: &Element) -> bool {
        false
    }

    fn require(&self, config: &SubInterfaceConfig, session: &Session) -> Result<()> {
        if !session.host().knows_kind(&config.settings)? {
            return Err(lacks(&config.settings));
        }
        if config.parent_in == NsRef::Container || config.isolated {
            return Ok(());
        }
        let name = match (config.vlan_parent(), &config.parent) {
            (Some(vlan), Some(parent)) if session.link(NsRef::Host, parent)?.is_none() => {
                vlan.under
            }
            (_, Some(parent)) => parent.clone(),
            (_, None) => default_link(session)?,
        };
        let unavailable = |why: &str| {
            let told = format!("master: link {name} {why} on the host");
            Error::new(ErrorKind::NotAvailable, told)
        };
        match session.link(NsRef::Host, &name)? {
            None => Err(unavailable("does not exist")),
            Some(link) if !link.up => Err(unavailable("is down")),
            Some(_) => Ok(()),
        }
    }
}

impl SubInterfaceDriver {
    fn parent_name(
        &self,
        config: &SubInterfaceConfig,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<IfName> {
        if let Some(name) = &config.parent {
            return Ok(name.clone());
        }
        match (self.family, endpoint.previous) {
            (Family::Ipvlan, Some(previous)) => chained_parent(endpoint, previous),
            _ => default_link(session),
        }
    }
}

/// ipvlan after another plugin stands on the one interface that it made, as with the reference.
fn chained_parent(
    endpoint: &Endpoint<'_>,
    previous: &wharfline_spec::cni::CniResult,
) -> Result<IfName> {
    let missing = || {
        Error::config(
            "master",
            "is missing, and the previous result does not name exactly one interface to stand on",
        )
    };
    match previous.interfaces.as_slice() {
        // CHECK: the previous result is what ADD answered.
        [only] if only.name != endpoint.key.ifname.as_str() => {
            IfName::new(&only.name).map_err(|_| missing())
        }
        _ => Err(missing()),
    }
}

fn default_link(session: &Session) -> Result<IfName> {
    for outside in OUTSIDE {
        let Some(egress) = session
            .host()
            .egress(outside)?
            .filter(|egress| !egress.local)
        else {
            continue;
        };
        let link = session.host().link(LinkKey::Index(egress.link))?;
        if let Some(name) = link.and_then(|link| IfName::new(&link.name).ok()) {
            return Ok(name);
        }
    }
    Err(Error::config(
        "master",
        "is missing, and the host has no default route whose link could be the parent",
    ))
}

/// The first global address of each family: what the host is known by on the segment.
fn host_addresses(session: &Session, parent: &Link) -> Result<Vec<IpAddr>> {
    let all = session.host().addresses(parent.index)?;
    let global = || {
        all.iter()
            .filter(|address| !address.link_local)
            .map(|address| address.network.ip())
    };
    let first = |ipv6: bool| global().find(|ip| ip.is_ipv6() == ipv6);
    Ok([first(false), first(true)].into_iter().flatten().collect())
}
