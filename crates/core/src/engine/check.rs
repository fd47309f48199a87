//! CHECK: the plan made again from what ADD answered, compared with what the kernel has.

use wharfline_spec::cni::{CniResult, IpConfig};

use super::{Attach, Engine, endpoint};
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;
use crate::session::Session;
use crate::tables;
use crate::verify::{differences, mtu_differences};

impl<D: Driver> Engine<'_, D> {
    /// Whether everything that ADD made is still as it was; every difference is reported, by name.
    pub fn check(&self, attach: &Attach<'_>) -> Result<()> {
        let mut session = Session::open()?;
        let path = attach.netns.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::BadEnvironment,
                "CNI_NETNS: CHECK needs the container's namespace",
            )
        })?;
        session.enter(path)?;
        let answered = attach.previous.ok_or_else(|| {
            Error::config("prevResult", "CHECK needs the result that ADD answered")
        })?;
        tables::heal(&session)?;
        let salt = Record::read(session.state(), self.driver.name(), &attach.key)?
            .map_or(0, |record| record.salt);
        let lease = lease_of(answered, attach);
        let mut endpoint = endpoint(attach, &lease, salt);
        // A plugin after ours may have changed the MAC; the answer says which it is since.
        endpoint.mac = answered_mac(answered, attach).or(endpoint.mac);
        // What another's element serves as well was left out of the plan.
        endpoint.contested = true;
        let facts = self.driver.observe(self.config, &endpoint, &session)?;
        let plan = self.driver.plan(self.config, &endpoint, &facts)?;
        let mut found = Vec::new();
        for (ns, op) in plan.all_operations() {
            found.extend(differences(&session, ns, &op)?);
        }
        if self.driver.makes_link() {
            found.extend(mtu_differences(&session, &attach.key.ifname, answered)?);
        }
        found.extend(self.ipam.check().err().map(|e| e.to_string()));
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Differs,
            format!("{}: {}", attach.key, found.join("; ")),
        ))
    }
}

fn answered_mac(answered: &CniResult, attach: &Attach<'_>) -> Option<macaddr::MacAddr6> {
    let in_container = answered.interfaces.iter().find(|interface| {
        interface.name == attach.key.ifname.as_str()
            && interface
                .sandbox
                .as_deref()
                .is_some_and(|sandbox| !sandbox.is_empty())
    });
    in_container?.mac
}

/// The part of a result that came from IPAM: addresses of the container's interface, and the routes.
fn lease_of(answered: &CniResult, attach: &Attach<'_>) -> CniResult {
    let is_ours = |ip: &IpConfig| {
        let interface = ip
            .interface
            .and_then(|index| answered.interfaces.get(index));
        interface.is_none_or(|found| found.name == attach.key.ifname.as_str())
    };
    CniResult {
        interfaces: Vec::new(),
        ips: answered
            .ips
            .iter()
            .filter(|ip| is_ours(ip))
            .cloned()
            .collect(),
        routes: answered.routes.clone(),
        dns: answered.dns.clone(),
    }
}
