//! The configuration of an image: what it says of its layers, and the defaults that it gives a container
//! (OCI image specification, config.md; Healthcheck and Shell are Docker's own). The crate `oci-spec` is not used: it
//! knows no health checks, and what it writes is not what it read.
//! It must never be written anew for an image that was imported: an image's id is the digest of these very bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::LAYERS;

/// What an image gives a container for its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Defaults {
    /// `NAME=VALUE` each.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// What is executed, with its first arguments.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Further arguments, or the command if there is no entrypoint.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// `user[:group]`, by name or number; empty for root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// Where it is executed; empty for `/`.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Paths that are volumes.
    #[serde(deserialize_with = "keys")]
    pub volumes: BTreeSet<String>,
    /// `port/protocol` each.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: BTreeSet<String>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops it, by name or number; empty for SIGTERM.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// What runs a health check's line; empty for `/bin/sh -c` (Docker's own key).
    #[serde(deserialize_with = "or_default")]
    pub shell: Vec<String>,
    /// How to tell whether it is well.
    pub healthcheck: Option<Healthcheck>,
}

/// How to tell whether a container is well (Docker's; times in nanoseconds, 0 for Docker's default).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and words, or `CMD-SHELL` and a line.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(deserialize_with = "or_default")]
    pub interval: u64,
    /// For one check.
    #[serde(deserialize_with = "or_default")]
    pub timeout: u64,
    /// In the beginning, when failures do not count.
    #[serde(deserialize_with = "or_default")]
    pub start_period: u64,
    /// Between two checks in the beginning.
    #[serde(deserialize_with = "or_default")]
    pub start_interval: u64,
    /// Failures in a row.
    #[serde(deserialize_with = "or_default")]
    pub retries: u64,
}

/// A configuration that has been read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// As it came.
    pub(crate) bytes: Vec<u8>,
    /// The digests of the layers' archives, the lowest first.
    pub(crate) layers: Vec<Digest>,
    /// When the image was made, as it says (RFC 3339).
    pub(crate) created: Option<String>,
    pub(crate) author: Option<String>,
    /// For which processor, in Go's words.
    pub(crate) architecture: String,
    pub(crate) defaults: Defaults,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Defaults,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a configuration; `what` is what it is called in an error.
    pub(crate) fn parse(bytes: Vec<u8>, what: &str) -> Result<Config> {
        let document: Document = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            what: what.to_owned(),
            source,
        })?;
        let refused = |problem: String| Err(Error::malformed(what, problem));
        if document.os != "linux" && !document.os.is_empty() {
            return refused(format!("is of an image for {}", document.os));
        }
        if document.rootfs.diff_ids.len() > LAYERS {
            return refused(format!("has more than {LAYERS} layers"));
        }
        let volumes = &document.config.volumes;
        if let Some(path) = volumes.iter().find(|path| !path.starts_with('/')) {
            return refused(format!(
                "has a volume at {path:?}, which is no absolute path"
            ));
        }
        Ok(Config {
            bytes,
            layers: document.rootfs.diff_ids,
            created: document.created,
            author: document.author,
            architecture: document.architecture,
            defaults: document.config,
        })
    }

    /// The image's id.
    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// The keys of an object, which is how Go writes a set.
fn keys<'de, D: Deserializer<'de>>(input: D) -> std::result::Result<BTreeSet<String>, D::Error> {
    let set: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(input)?;
    Ok(set.unwrap_or_default().into_keys().collect())
}

/// `null` is how Go writes what is empty.
fn or_default<'de, D, T>(input: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_nulls_and_sets_are_read() {
        let text = br#"{"os":"linux","config":{"Env":["A=1"],"Cmd":["sh"],"Entrypoint":null,"User":"",
            "Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000}},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let defaults = Config::parse(text.to_vec(), "it").expect("read").defaults;
        assert_eq!(defaults.env, ["A=1"]);
        assert!(defaults.entrypoint.is_empty() && defaults.labels.is_empty());
        assert!(defaults.volumes.contains("/data"));
        assert!(defaults.exposed_ports.contains("80/tcp"));
        let check = defaults.healthcheck.expect("a check");
        assert_eq!((check.interval, check.retries), (30_000_000_000, 0));
    }

    #[test]
    fn what_can_not_be_run_here_is_refused() {
        for text in [
            r#"{"os":"windows","rootfs":{"diff_ids":[]}}"#,
            r#"{"os":"linux","rootfs":{"diff_ids":["sha256:../../x"]}}"#,
            r#"{"os":"linux","config":{"Volumes":{"data":{}}},"rootfs":{"diff_ids":[]}}"#,
            r#"{"os":"linux"}"#,
        ] {
            assert!(Config::parse(text.into(), "it").is_err(), "{text}");
        }
    }
}
