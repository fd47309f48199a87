//! What a path of the protocol means: a call with a body that was read, and an answer that is to be written.
//! `exchange` calls it on a thread that may block; `network` and `ipam` implement it over a plugin's driver.
//! It must never see a connection.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wharfline_spec::docker::Activation;

use crate::metrics::Gauge;
use crate::refusal::Refusal;

/// One protocol, ready to be called.
pub trait Protocol: Send + Sync {
    /// What `/Plugin.Activate` answers.
    fn implements(&self) -> &'static [&'static str];

    /// dockerd has just found the plugin, perhaps after a crash.
    fn activated(&self) {}

    /// What the driver measures of itself, now.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// Does the call that `path` names; the JSON of its answer.
    ///
    /// # Errors
    /// [`Refusal`]: an unknown path, a body that cannot be read, or what the driver said.
    fn call(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Refusal>;

    /// The work behind `path`, where it takes so long that its answer comes line by line. It runs on a thread of its own;
    /// none for a path that [`Protocol::call`] answers.
    fn work(&self, _path: &str) -> Option<Work> {
        None
    }

    /// How many calls may run at once. More only wait for the kernel's locks, unless calls wait for something else.
    fn calls_at_once(&self) -> usize {
        16
    }
}

/// Work that tells of its progress: the body it was asked with, and where its lines go. What it returns goes out as the
/// last line; a refusal before the first line is an answer with a status of its own.
pub type Work = Box<
    dyn FnOnce(&[u8], &mut dyn FnMut(Vec<u8>) -> Result<(), Gone>) -> Result<Vec<u8>, Refusal>
        + Send,
>;

/// Nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The answer to `/Plugin.Activate`.
pub(crate) fn activate(protocol: &dyn Protocol) -> Result<Vec<u8>, Refusal> {
    protocol.activated();
    answer(&Activation {
        implements: protocol.implements(),
    })
}

/// Reads a body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|e| Refusal::malformed(format!("the request's body cannot be read: {e}")))
}

/// Writes an answer.
pub(crate) fn answer(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value)
        .map_err(|e| Refusal::new(format!("the answer cannot be written: {e}")))
}
