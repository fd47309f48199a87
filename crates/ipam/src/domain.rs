//! host-local as the engine sees it: the verbs of one request behind the domain's trait.
//! Made by the plugins whose configuration says `ipam.type` host-local, in place of an exec.
//! Must never answer otherwise than the binary would.

use wharfline_core::error::{Error as CoreError, ErrorKind, Result};
use wharfline_core::ipam::Ipam;
use wharfline_spec::cni::{Args, CniError, CniResult, NetConf};
use wharfline_spec::names::{ContainerId, IfName};

use crate::error::Error;
use crate::host_local;
use crate::lease::Owner;
use crate::store::Site;

/// host-local in process: for one attachment, or for the network as a whole (GC, STATUS).
#[must_use]
pub fn in_process<'a>(
    conf: &'a NetConf,
    attachment: Option<(&'a Args, &'a ContainerId, &'a IfName)>,
) -> Box<dyn Ipam + 'a> {
    Box::new(match attachment {
        Some((args, container, ifname)) => {
            HostLocal::for_attachment(conf, args, Owner::new(container, ifname))
        }
        None => HostLocal::for_network(conf),
    })
}

/// One request to host-local, served in process.
#[derive(Debug, Clone)]
pub struct HostLocal<'a> {
    site: Site,
    conf: &'a NetConf,
    attachment: Option<(&'a Args, Owner)>,
}

impl<'a> HostLocal<'a> {
    /// The request of one attachment, ADD, DEL or CHECK, on this host.
    #[must_use]
    pub fn for_attachment(conf: &'a NetConf, args: &'a Args, owner: Owner) -> HostLocal<'a> {
        HostLocal {
            site: Site::default(),
            conf,
            attachment: Some((args, owner)),
        }
    }

    /// The request of the network as a whole, GC or STATUS, on this host.
    #[must_use]
    pub fn for_network(conf: &'a NetConf) -> HostLocal<'a> {
        HostLocal {
            site: Site::default(),
            conf,
            attachment: None,
        }
    }

    fn attachment(&self) -> Result<&(&'a Args, Owner)> {
        let missing = || CoreError::new(ErrorKind::Bug, "host-local: a request of no attachment");
        self.attachment.as_ref().ok_or_else(missing)
    }
}

impl Ipam for HostLocal<'_> {
    fn acquire(&self) -> Result<CniResult> {
        let (args, owner) = self.attachment()?;
        host_local::add(&self.site, self.conf, args, owner).map_err(refusal)
    }

    fn release(&self) -> Result<()> {
        host_local::del(&self.site, self.conf, &self.attachment()?.1).map_err(refusal)
    }

    fn check(&self) -> Result<()> {
        host_local::check(&self.site, self.conf, &self.attachment()?.1).map_err(refusal)
    }

    fn gc(&self) -> Result<()> {
        host_local::collect(&self.site, self.conf).map_err(refusal)
    }

    fn status(&self) -> Result<()> {
        host_local::status(&self.site, self.conf).map_err(refusal)
    }
}

/// The failure with the very error that the binary answers below it, which the boundary passes on.
fn refusal(error: Error) -> CoreError {
    let kind = match &error {
        Error::Config(_) => ErrorKind::InvalidConfig,
        Error::Args { .. } | Error::Protocol(_) => ErrorKind::BadEnvironment,
        Error::Io { .. } => ErrorKind::Io,
        Error::Busy { .. } | Error::Cooling { .. } => ErrorKind::Busy,
        Error::Exhausted { .. } => ErrorKind::Exhausted,
        Error::Duplicate { .. } | Error::Requested { .. } | Error::Unplaced(_) => {
            ErrorKind::Conflict
        }
        Error::NotLeased { .. } => ErrorKind::Differs,
        Error::Unavailable { .. } => ErrorKind::NotAvailable,
    };
    CoreError::new(kind, "addresses").because(CniError::from(error))
}
