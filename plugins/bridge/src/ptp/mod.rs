//! `ptp`: a veth pair whose host end the host routes to, with no bridge between.
//! The binary `ptp` hands [`PtpPlugin`] to the process boundary.
//! It must never reach the kernel past the engine.

mod config;
mod driver;
mod plan;
#[cfg(test)]
mod tests;

use macaddr::MacAddr6;
use wharfline_cni::served::{HostLocal, Served};
use wharfline_cni::{Request, mac};
use wharfline_ipam::domain::in_process;
use wharfline_spec::cni::{CniError, NetConf};

use config::PtpConfig;
use driver::PtpDriver;

/// `ptp` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PtpPlugin;

impl Served for PtpPlugin {
    type Driver = PtpDriver;

    fn name(&self) -> &'static str {
        "ptp"
    }

    fn driver(&self) -> &PtpDriver {
        &PtpDriver
    }

    fn host_local(&self) -> HostLocal {
        in_process
    }

    fn parse(&self, conf: &NetConf) -> Result<PtpConfig, CniError> {
        PtpConfig::parse(conf)
    }

    fn mac(&self, _: &PtpConfig, request: &Request) -> Result<Option<MacAddr6>, CniError> {
        mac::requested(request)
    }
}
