//! `VolumeDriver`: the calls by their paths, and the trait that a plugin implements.
//! `exchange` calls it through `Protocol`.
//! It must never hold state: what a volume is, the driver knows.

use wharfline_spec::docker::volume::{
    Capabilities, Create, Got, Listed, Mounted, Nothing, OPERATIONS, OfUser, OfVolume, Scope,
    Volume,
};

use crate::metrics::Gauge;
use crate::protocol::{Protocol, Work, answer, read};
use crate::refusal::Refusal;

/// What dockerd asks of a volume plugin. Calls come at the same time, also for one volume.
pub trait VolumeDriver: Send + Sync {
    /// dockerd has just found the plugin: of containers that died while it was away it will not tell.
    fn activated(&self) {}
    /// Makes a volume; the same again is success.
    fn create(&self, asked: &Create) -> Result<(), Refusal>;
    /// One volume. dockerd asks before almost everything.
    fn get(&self, of: &OfVolume) -> Result<Volume, Refusal>;
    /// All.
    fn list(&self) -> Result<Vec<Volume>, Refusal>;
    /// Where it is or will be.
    fn path(&self, of: &OfVolume) -> Result<String, Refusal>;
    /// Has it there for somebody; where.
    fn mount(&self, of: &OfUser) -> Result<String, Refusal>;
    /// He needs it no more.
    fn unmount(&self, of: &OfUser) -> Result<(), Refusal>;
    /// Takes it away with all that is in it.
    fn remove(&self, of: &OfVolume) -> Result<(), Refusal>;
    /// What there is of it, for Prometheus.
    fn gauges(&self) -> Vec<Gauge>;
    /// An operation of the plugin's own, by what follows [`OPERATIONS`] in its path.
    fn operate(&self, _operation: &str, _body: &[u8]) -> Option<Result<Vec<u8>, Refusal>> {
        None
    }
    /// The same for one that takes time.
    fn work(&self, _operation: &str) -> Option<Work> {
        None
    }
}

/// The protocol over a driver.
#[derive(Debug)]
pub struct VolumeProtocol<D>(pub D);

/// A call may wait for a file server, and nobody else is to wait for that.
const CALLS_AT_ONCE: usize = 256;

impl<D: VolumeDriver> Protocol for VolumeProtocol<D> {
    fn implements(&self) -> &'static [&'static str] {
        &["VolumeDriver"]
    }

    fn activated(&self) {
        self.0.activated();
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.0.gauges()
    }

    fn calls_at_once(&self) -> usize {
        CALLS_AT_ONCE
    }

    fn work(&self, path: &str) -> Option<Work> {
        self.0.work(path.strip_prefix(OPERATIONS)?)
    }

    fn call(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let driver = &self.0;
        let err = "";
        let done = |(): ()| answer(&Nothing::default());
        let mounted = |mountpoint| answer(&Mounted { mountpoint, err });
        match path {
            "/VolumeDriver.Capabilities" => answer(&Capabilities {
                capabilities: Scope { scope: "local" },
            }),
            "/VolumeDriver.Create" => driver.create(&read(body)?).and_then(done),
            "/VolumeDriver.Get" => driver
                .get(&read(body)?)
                .and_then(|volume| answer(&Got { volume, err })),
            "/VolumeDriver.List" => driver
                .list()
                .and_then(|volumes| answer(&Listed { volumes, err })),
            "/VolumeDriver.Path" => driver.path(&read(body)?).and_then(mounted),
            "/VolumeDriver.Mount" => driver.mount(&read(body)?).and_then(mounted),
            "/VolumeDriver.Unmount" => driver.unmount(&read(body)?).and_then(done),
            "/VolumeDriver.Remove" => driver.remove(&read(body)?).and_then(done),
            _ => path
                .strip_prefix(OPERATIONS)
                .and_then(|operation| driver.operate(operation, body))
                .unwrap_or_else(|| Err(Refusal::unknown_path(path))),
        }
    }
}
