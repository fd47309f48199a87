//! The CNI face of host-local: each verb is one call of the allocator.
//! Called by the process boundary.
//! Must never decide anything that the in-process callers of the allocator would not get.

use wharfline_cni::{NetworkRequest, Plugin, Request};
use wharfline_ipam::host_local;
use wharfline_ipam::lease::Owner;
use wharfline_ipam::store::Site;
use wharfline_spec::cni::{CniError, CniResult};

/// The plugin, on this host.
pub(crate) struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        Ok(host_local::add(
            &Site::default(),
            &request.conf,
            &request.args,
            &owner(request),
        )?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        Ok(host_local::del(
            &Site::default(),
            &request.conf,
            &owner(request),
        )?)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        Ok(host_local::check(
            &Site::default(),
            &request.conf,
            &owner(request),
        )?)
    }

    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        Ok(host_local::collect(&Site::default(), &request.conf)?)
    }

    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        Ok(host_local::status(&Site::default(), &request.conf)?)
    }
}

fn owner(request: &Request) -> Owner {
    Owner::new(&request.container, &request.ifname)
}
