//! What ADD answers: the one interface, its addresses, routes and resolver settings.
//! A plan carries it; runtimes and the plugins after us read it.
//! It must never name the parent, which is not the attachment's.

use wharfline_spec::cni::{CniResult, Interface};

use crate::plan::Planning;

impl Planning<'_> {
    pub(crate) fn result(&self) -> CniResult {
        let sandbox = self.endpoint.netns.as_ref();
        let interface = Interface {
            name: self.endpoint.key.ifname.to_string(),
            mac: self.mac(),
            mtu: Some(self.mtu),
            sandbox: sandbox.map(|path| path.to_string_lossy().into_owned()),
            ..Interface::default()
        };
        CniResult {
            interfaces: vec![interface],
            ips: self.ips.clone(),
            routes: self.endpoint.lease.routes.clone(),
            // The network's own settings win over the address plugin's.
            dns: match self.config.dns.is_empty() {
                true => self.endpoint.lease.dns.clone(),
                false => self.config.dns.clone(),
            },
        }
    }
}
