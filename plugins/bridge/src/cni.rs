//! The bridge plugin's CNI face: requests become engine calls, and nothing else.
//! `main` hands it to the process boundary.
//! It must never reach the kernel past the engine.

use wharfline_cni::attach::{attach, sweep};
use wharfline_cni::domain::{Asked, ForeignIpam, refusal};
use wharfline_cni::{NetworkRequest, Plugin, Request};
use wharfline_core::engine::Engine;
use wharfline_core::error::Error;
use wharfline_core::ipam::{Ipam, NoIpam};
use wharfline_ipam::domain::HostLocal;
use wharfline_ipam::lease::Owner;
use wharfline_spec::cni::{CniError, CniResult, NetConf};

use crate::config::{BridgeConfig, requested_mac};
use crate::driver::BridgeDriver;

/// `bridge` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BridgePlugin;

impl Plugin for BridgePlugin {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = BridgeConfig::parse(&request.conf)?;
        let attach = attach(request, requested_mac(request)?);
        let ipam = ipam_of(&request.conf, Asked::Attachment(request)).map_err(|e| refusal(&e))?;
        let engine = Engine::new(&BridgeDriver, &config, ipam.as_ref());
        engine.add(&attach).map_err(|e| refusal(&e))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let config = BridgeConfig::parse(&request.conf)?;
        let attach = attach(request, requested_mac(request)?);
        let ipam = ipam_of(&request.conf, Asked::Attachment(request)).map_err(|e| refusal(&e))?;
        let engine = Engine::new(&BridgeDriver, &config, ipam.as_ref());
        engine.del(&attach).map_err(|e| refusal(&e))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = BridgeConfig::parse(&request.conf)?;
        let attach = attach(request, requested_mac(request)?);
        let ipam = ipam_of(&request.conf, Asked::Attachment(request)).map_err(|e| refusal(&e))?;
        let engine = Engine::new(&BridgeDriver, &config, ipam.as_ref());
        engine.check(&attach).map_err(|e| refusal(&e))
    }

    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = BridgeConfig::parse(&request.conf)?;
        let ipam = ipam_of(&request.conf, Asked::Network(request)).map_err(|e| refusal(&e))?;
        let engine = Engine::new(&BridgeDriver, &config, ipam.as_ref());
        engine.gc(&sweep(&request.conf)).map_err(|e| refusal(&e))
    }

    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = BridgeConfig::parse(&request.conf)?;
        let ipam = ipam_of(&request.conf, Asked::Network(request)).map_err(|e| refusal(&e))?;
        let engine = Engine::new(&BridgeDriver, &config, ipam.as_ref());
        engine.status().map_err(|e| refusal(&e))
    }
}

/// Our own allocator is called in process, with the same result as its binary's; any other is exec'd.
fn ipam_of<'a>(conf: &'a NetConf, asked: Asked<'a>) -> Result<Box<dyn Ipam + 'a>, Error> {
    Ok(match conf.ipam_type() {
        None => Box::new(NoIpam),
        Some("host-local") => Box::new(host_local(conf, asked)),
        Some(other) => Box::new(ForeignIpam::find(other, asked)?),
    })
}

fn host_local<'a>(conf: &'a NetConf, asked: Asked<'a>) -> HostLocal<'a> {
    match asked {
        Asked::Attachment(request) => {
            let owner = Owner::new(&request.container, &request.ifname);
            HostLocal::for_attachment(conf, &request.args, owner)
        }
        Asked::Network(_) => HostLocal::for_network(conf),
    }
}
