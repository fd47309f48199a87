//! The configuration of a ptp network: parsing it is validating it.
//! The CNI face makes it from a request; the driver reads it.
//! It must never hold a value that the driver would have to refuse.

use wharfline_spec::cni::{CniError, Dns, NetConf};

use crate::config::{masquerade_backend, mtu};

/// Keys of a network whose containers each have a link to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PtpConfig {
    /// `ipMasq`: what leaves the subnet leaves with the host's address.
    pub masquerade: bool,
    /// `mtu`, bytes; `None` derives it from the host's way out.
    pub mtu: Option<u32>,
    /// `dns`: wins over what the address plugin says.
    pub dns: Dns,
}

impl PtpConfig {
    /// Reads the plugin's keys.
    ///
    /// # Errors
    /// Code 7 with the key's path, for a wrong type, a value out of range or no `ipam`: routes to addresses are all that
    /// leads to a container here.
    pub(crate) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let fields = conf.fields();
        masquerade_backend(&fields)?;
        if conf.ipam_type().is_none() {
            let why = "is missing: nothing but a route to its address leads to a container";
            return Err(fields.bad("ipam", why).into());
        }
        Ok(Self {
            masquerade: fields.bool("ipMasq")?.unwrap_or(false),
            mtu: mtu(&fields)?,
            dns: conf.dns.clone(),
        })
    }
}
