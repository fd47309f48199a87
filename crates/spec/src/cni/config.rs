//! The configuration that a plugin reads from stdin.
//! Parsed once at the process boundary; each plugin reads its own keys from `raw`.
//! Must never accept a document that it cannot read whole, except a broken prevResult on the way out.

use serde_json::{Map, Value};

use super::{CniError, CniResult, Dns, RuntimeConfig, Version, code};
use crate::fields::{BadField, Fields, elements};
use crate::names::{ContainerId, IfName, NetworkName};

/// One plugin's configuration as it arrives (CNI SPEC 1.1.0, section 3, "Deriving execution
/// configuration").
#[derive(Debug, Clone)]
pub struct NetConf {
    /// Version that the answer must be in; 0.1.0 when unsaid.
    pub cni_version: Version,
    /// The network.
    pub name: NetworkName,
    /// The plugin's type, which is its binary's name; empty when unsaid.
    pub plugin_type: String,
    /// Capabilities that the configuration switches on.
    pub capabilities: Vec<String>,
    /// Configuration of the address plugin, an object.
    pub ipam: Option<Value>,
    /// Capability arguments.
    pub runtime_config: RuntimeConfig,
    /// The key `args`; conventional arguments are under `cni`.
    pub args: Map<String, Value>,
    /// Result of the plugins before this one, or of the ADD as a whole.
    pub prev_result: Option<CniResult>,
    /// Resolver settings.
    pub dns: Dns,
    /// GC: the attachments that are still valid. Empty too when the key is absent: ask
    /// [`NetConf::lists_valid_attachments`] before collecting anything.
    pub valid_attachments: Vec<Attachment>,
    /// The whole object.
    pub raw: Map<String, Value>,
}

/// One attachment of a network: a container and the name of its interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    /// The container (`CNI_CONTAINERID` of its ADD).
    pub container: ContainerId,
    /// Its interface (`CNI_IFNAME` of its ADD).
    pub ifname: IfName,
}

/// The key of 1.1.0, and the one that the specification's text had by mistake (libcni sends both).
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

impl NetConf {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Code 6 when it is not a JSON object or prevResult cannot be read, 7 when a key is missing or
    /// cannot be used (the message has its path), 1 when its version is none that was released.
    pub fn parse(bytes: &[u8]) -> Result<NetConf, CniError> {
        let raw = object(bytes)?;
        let mut conf = NetConf::without_prev_result(raw)?;
        conf.prev_result = conf.read_prev_result()?;
        Ok(conf)
    }

    /// Reads a configuration for DEL, which must do what it can: a prevResult that cannot be read is
    /// left out, and its error comes beside the configuration.
    ///
    /// # Errors
    /// As [`NetConf::parse`], prevResult apart.
    pub fn parse_for_del(bytes: &[u8]) -> Result<(NetConf, Option<CniError>), CniError> {
        let mut conf = NetConf::without_prev_result(object(bytes)?)?;
        match conf.read_prev_result() {
            Ok(result) => {
                conf.prev_result = result;
                Ok((conf, None))
            }
            Err(e) => Ok((conf, Some(e))),
        }
    }

    /// Type of the address plugin; `None` when the configuration has no addresses to give.
    #[must_use]
    pub fn ipam_type(&self) -> Option<&str> {
        self.ipam
            .as_ref()?
            .get("type")?
            .as_str()
            .filter(|t| !t.is_empty())
    }

    /// The keys of the whole object, for a plugin to read its own.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields::root(&self.raw)
    }

    /// The conventional arguments `args.cni` (CONVENTIONS.md, "args in network config").
    ///
    /// # Errors
    /// [`BadField`] when `args.cni` is not an object.
    pub fn cni_args(&self) -> Result<Option<Fields<'_>>, BadField> {
        Fields::below(&self.args, "args").object("cni")
    }

    /// Whether the document says which attachments are valid; without that nothing may be collected.
    #[must_use]
    pub fn lists_valid_attachments(&self) -> bool {
        VALID_ATTACHMENTS
            .iter()
            .any(|key| self.raw.contains_key(*key))
    }

    fn without_prev_result(raw: Map<String, Value>) -> Result<NetConf, CniError> {
        let fields = Fields::root(&raw);
        let name = fields.str("name")?.filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| CniError::invalid_config("name: is missing"))?;
        let name = NetworkName::new(name).map_err(|e| fields.bad("name", e.to_string()))?;
        let ipam = fields.object("ipam")?;
        if let Some(ipam) = &ipam {
            ipam.str("type")?;
        }
        Ok(NetConf {
            cni_version: stated_version(&fields)?,
            name,
            plugin_type: fields.str("type")?.unwrap_or_default().to_owned(),
            capabilities: capabilities(&fields)?,
            ipam: ipam.map(|f| Value::Object(f.map().clone())),
            runtime_config: RuntimeConfig::new(map_of(&fields, "runtimeConfig")?),
            args: map_of(&fields, "args")?,
            prev_result: None,
            dns: fields
                .object("dns")?
                .map(|f| Dns::read(&f))
                .transpose()?
                .unwrap_or_default(),
            valid_attachments: attachments(&raw)?,
            raw,
        })
    }

    fn read_prev_result(&self) -> Result<Option<CniResult>, CniError> {
        let fields = self.fields();
        let value = fields
            .get("prevResult")
            .filter(|v| !v.as_object().is_some_and(Map::is_empty));
        let read = value.map(|v| CniResult::from_json_at(v, "prevResult", self.cni_version));
        read.transpose()
            .map_err(|bad| CniError::new(code::DECODING_FAILURE, bad.to_string()))
    }
}

/// The object that `bytes` hold.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, CniError> {
    serde_json::from_slice(bytes).map_err(|e| {
        CniError::new(
            code::DECODING_FAILURE,
            format!("read the network configuration: {e}"),
        )
    })
}

/// `cniVersion`; an unreleased one is code 1, as the reference's reconciler answers.
pub(super) fn stated_version(fields: &Fields<'_>) -> Result<Version, CniError> {
    let Some(text) = fields.text("cniVersion")? else {
        return Ok(Version::UNSTATED);
    };
    text.parse()
        .map_err(|_| CniError::incompatible(&text, &Version::ALL))
}

/// The capabilities that are switched on.
pub(super) fn capabilities(fields: &Fields<'_>) -> Result<Vec<String>, BadField> {
    let Some(object) = fields.object("capabilities")? else {
        return Ok(Vec::new());
    };
    let mut on = Vec::new();
    for key in object.map().keys() {
        if object.bool(key)? == Some(true) {
            on.push(key.clone());
        }
    }
    Ok(on)
}

fn map_of(fields: &Fields<'_>, key: &str) -> Result<Map<String, Value>, BadField> {
    Ok(fields
        .object(key)?
        .map(|f| f.map().clone())
        .unwrap_or_default())
}

fn attachments(raw: &Map<String, Value>) -> Result<Vec<Attachment>, BadField> {
    let Some(key) = VALID_ATTACHMENTS
        .into_iter()
        .find(|key| raw.contains_key(*key))
    else {
        return Ok(Vec::new());
    };
    // A Go runtime with an empty list sends null.
    let Some(list) = raw.get(key).filter(|v| !v.is_null()) else {
        return Ok(Vec::new());
    };
    let items = elements(list, key)?;
    items
        .into_iter()
        .map(|(at, item)| attachment(&Fields::of(item, at)?))
        .collect()
}

fn attachment(fields: &Fields<'_>) -> Result<Attachment, BadField> {
    let missing = |key| fields.bad(key, "is missing");
    Ok(Attachment {
        container: fields
            .parsed("containerID")?
            .ok_or_else(|| missing("containerID"))?,
        ifname: fields.parsed("ifname")?.ok_or_else(|| missing("ifname"))?,
    })
}

#[cfg(test)]
mod tests;
