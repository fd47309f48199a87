//! The portmap plugin's CNI face: requests become engine calls, and nothing else.
//! `main` hands it to the process boundary.
//! It must never reach the kernel past the engine.

use wharfline_cni::attach::{attach, sweep};
use wharfline_cni::domain::refusal;
use wharfline_cni::{NetworkRequest, Plugin, Request};
use wharfline_core::engine::Engine;
use wharfline_core::ipam::NO_IPAM;
use wharfline_spec::cni::{CniError, CniResult};

use crate::config::PortmapConfig;
use crate::driver::PortmapDriver;

/// `portmap` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortmapPlugin;

impl Plugin for PortmapPlugin {
    fn name(&self) -> &'static str {
        "portmap"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = PortmapConfig::parse(&request.conf)?;
        let attach = attach(request, None);
        let Some(previous) = attach.previous else {
            return Err(CniError::invalid_config(
                "prevResult: is missing: portmap is chained after the plugin that made the interface",
            ));
        };
        if config.ports.is_empty() {
            return Ok(previous.clone());
        }
        engine(&config).add(&attach).map_err(|e| refusal(&e))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let config = PortmapConfig::parse(&request.conf)?;
        engine(&config)
            .del(&attach(request, None))
            .map_err(|e| refusal(&e))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = PortmapConfig::parse(&request.conf)?;
        if config.ports.is_empty() {
            return Ok(());
        }
        engine(&config)
            .check(&attach(request, None))
            .map_err(|e| refusal(&e))
    }

    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = PortmapConfig::parse(&request.conf)?;
        engine(&config)
            .gc(&sweep(&request.conf))
            .map_err(|e| refusal(&e))
    }

    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = PortmapConfig::parse(&request.conf)?;
        engine(&config).status().map_err(|e| refusal(&e))
    }
}

fn engine(config: &PortmapConfig) -> Engine<'_, PortmapDriver> {
    Engine::new(&PortmapDriver, config, &NO_IPAM)
}
