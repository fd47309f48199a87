//! The loopback plugin's CNI face: requests become engine calls, and nothing else.
//! `main` hands it to the process boundary.
//! It must never reach the kernel past the engine.

use wharfline_cni::attach::{attach, sweep};
use wharfline_cni::domain::refusal;
use wharfline_cni::{NetworkRequest, Plugin, Request};
use wharfline_core::engine::Engine;
use wharfline_core::ipam::NO_IPAM;
use wharfline_spec::cni::{CniError, CniResult};

use crate::driver::{LoopbackDriver, NoKeys};

/// `loopback` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopbackPlugin;

impl Plugin for LoopbackPlugin {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        engine()
            .add(&attach(request, None))
            .map_err(|e| refusal(&e))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        engine()
            .del(&attach(request, None))
            .map_err(|e| refusal(&e))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        engine()
            .check(&attach(request, None))
            .map_err(|e| refusal(&e))
    }

    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        engine().gc(&sweep(&request.conf)).map_err(|e| refusal(&e))
    }

    fn status(&self, _: &NetworkRequest) -> Result<(), CniError> {
        engine().status().map_err(|e| refusal(&e))
    }
}

fn engine() -> Engine<'static, LoopbackDriver> {
    Engine::new(&LoopbackDriver, &NoKeys, &NO_IPAM)
}
