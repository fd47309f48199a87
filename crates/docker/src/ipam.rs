//! `IpamDriver`: the calls by their paths, and the trait that a plugin implements.
//! `exchange` calls it through `Protocol`.
//! It must never hold state: what a pool is, the driver knows.

use wharfline_spec::docker::Done;
use wharfline_spec::docker::ipam::{
    Address, AddressSpaces, Capabilities, Pool, ReleaseAddress, ReleasePool, RequestAddress,
    RequestPool,
};

use crate::metrics::Gauge;
use crate::protocol::{Protocol, answer, read};
use crate::refusal::Refusal;

/// What dockerd asks of an IPAM plugin. Releases are idempotent.
pub trait IpamDriver: Send + Sync {
    /// The address spaces of networks that name none.
    fn address_spaces(&self) -> AddressSpaces;
    /// A pool; the same request gets the same pool.
    fn request_pool(&self, request: &RequestPool) -> Result<Pool, Refusal>;
    /// Gives it back.
    fn release_pool(&self, request: &ReleasePool) -> Result<(), Refusal>;
    /// An address out of a pool.
    fn request_address(&self, request: &RequestAddress) -> Result<Address, Refusal>;
    /// Gives it back.
    fn release_address(&self, request: &ReleaseAddress) -> Result<(), Refusal>;
    /// What there is of it, for Prometheus.
    fn gauges(&self) -> Vec<Gauge>;
}

/// The protocol over a driver.
#[derive(Debug)]
pub struct IpamProtocol<D>(pub D);

impl<D: IpamDriver> Protocol for IpamProtocol<D> {
    fn implements(&self) -> &'static [&'static str] {
        &["IpamDriver"]
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.0.gauges()
    }

    fn call(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let driver = &self.0;
        let done = |(): ()| answer(&Done {});
        match path {
            "/IpamDriver.GetCapabilities" => answer(&Capabilities::default()),
            "/IpamDriver.GetDefaultAddressSpaces" => answer(&driver.address_spaces()),
            "/IpamDriver.RequestPool" => answer(&driver.request_pool(&read(body)?)?),
            "/IpamDriver.ReleasePool" => driver.release_pool(&read(body)?).and_then(done),
            "/IpamDriver.RequestAddress" => answer(&driver.request_address(&read(body)?)?),
            "/IpamDriver.ReleaseAddress" => driver.release_address(&read(body)?).and_then(done),
            _ => Err(Refusal::unknown_path(path)),
        }
    }
}
