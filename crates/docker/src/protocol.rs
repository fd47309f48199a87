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
}

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
