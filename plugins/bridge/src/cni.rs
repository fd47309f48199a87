//! The bridge plugin's CNI face.
//! `main` hands it to the process boundary.
//! It must never reach the kernel past the engine.

use macaddr::MacAddr6;
use wharfline_cni::served::{HostLocal, Served};
use wharfline_cni::{Request, mac};
use wharfline_ipam::domain::in_process;
use wharfline_spec::cni::{CniError, NetConf};

use crate::config::BridgeConfig;
use crate::driver::BridgeDriver;

/// `bridge` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BridgePlugin;

impl Served for BridgePlugin {
    type Driver = BridgeDriver;

    fn name(&self) -> &'static str {
        "bridge"
    }

    fn driver(&self) -> &BridgeDriver {
        &BridgeDriver
    }

    fn host_local(&self) -> HostLocal {
        in_process
    }

    fn parse(&self, conf: &NetConf) -> Result<BridgeConfig, CniError> {
        BridgeConfig::parse(conf)
    }

    fn mac(&self, _: &BridgeConfig, request: &Request) -> Result<Option<MacAddr6>, CniError> {
        mac::requested(request)
    }
}
