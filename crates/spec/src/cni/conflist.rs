//! A network configuration list: what an administrator writes and a runtime reads.
//! Used by the runtime side (crates/cni `client`), hence by `wharf` and the tests.
//! Must never read the disk: the loader finds the files and their neighbours.

use serde_json::{Map, Value, json};

use super::config::{capabilities, object};
use super::{CniError, Version};
use crate::fields::{BadField, Fields};
use crate::names::NetworkName;

/// A list of plugins to run one after another (CNI SPEC 1.1.0, section 1).
#[derive(Debug, Clone)]
pub struct ConfList {
    /// The network.
    pub name: NetworkName,
    /// The version to run with: the highest of `cniVersion` and `cniVersions` that we know.
    pub cni_version: Version,
    /// CHECK is never sent.
    pub disable_check: bool,
    /// GC is never sent.
    pub disable_gc: bool,
    /// Further plugins beside the list (folder of the network's name) are not read.
    pub load_only_inlined_plugins: bool,
    /// The plugins in the order of ADD; may be empty before the loader has read the folder.
    pub plugins: Vec<PluginConf>,
    /// The whole document.
    pub raw: Map<String, Value>,
}

/// One plugin of a list.
#[derive(Debug, Clone)]
pub struct PluginConf {
    /// The plugin's type, which is its binary's name.
    pub plugin_type: String,
    /// Capabilities that the configuration switches on.
    pub capabilities: Vec<String>,
    /// The whole object.
    pub raw: Map<String, Value>,
}

impl ConfList {
    /// Reads a list (`*.conflist`).
    ///
    /// # Errors
    /// Code 6 when it is not a JSON object, 7 when a key is missing or cannot be used, 1 when none of
    /// its versions was released.
    pub fn parse(bytes: &[u8]) -> Result<ConfList, CniError> {
        ConfList::from_map(object(bytes)?)
    }

    /// Reads the configuration of a single plugin (`*.conf`, `*.json`) as a list of one.
    ///
    /// # Errors
    /// As [`ConfList::parse`].
    pub fn parse_single(bytes: &[u8]) -> Result<ConfList, CniError> {
        let plugin = object(bytes)?;
        let mut list = Map::new();
        for key in ["name", "cniVersion"] {
            if let Some(value) = Fields::root(&plugin).get(key) {
                list.insert(key.into(), value.clone());
            }
        }
        list.insert("plugins".into(), json!([plugin]));
        ConfList::from_map(list)
    }

    fn from_map(raw: Map<String, Value>) -> Result<ConfList, CniError> {
        let fields = Fields::root(&raw);
        let name = fields
            .str("name")?
            .ok_or_else(|| fields.bad("name", "is missing"))?;
        let name = NetworkName::new(name).map_err(|e| fields.bad("name", e.to_string()))?;
        let inlined = flag(&fields, "loadOnlyInlinedPlugins")?;
        Ok(ConfList {
            name,
            cni_version: highest_version(&fields)?,
            disable_check: flag(&fields, "disableCheck")?,
            disable_gc: flag(&fields, "disableGC")?,
            load_only_inlined_plugins: inlined,
            plugins: plugins(&fields, inlined)?,
            raw,
        })
    }
}

impl PluginConf {
    /// Reads one plugin's configuration as it stands in a file of the network's folder.
    ///
    /// # Errors
    /// Code 6 when it is not a JSON object, 7 when a key is missing or cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<PluginConf, CniError> {
        Ok(PluginConf::read(&Fields::root(&object(bytes)?))?)
    }

    fn read(fields: &Fields<'_>) -> Result<PluginConf, BadField> {
        let plugin_type = fields
            .text("type")?
            .ok_or_else(|| fields.bad("type", "is missing"))?;
        let capabilities = capabilities(fields)?;
        Ok(PluginConf {
            plugin_type,
            capabilities,
            raw: fields.map().clone(),
        })
    }
}

fn plugins(fields: &Fields<'_>, inlined_only: bool) -> Result<Vec<PluginConf>, BadField> {
    if fields.get("plugins").is_none() && !inlined_only {
        return Ok(Vec::new());
    }
    let items = fields.list("plugins")?;
    if items.is_empty() {
        return Err(fields.bad("plugins", "the list is empty"));
    }
    items
        .into_iter()
        .map(|(at, item)| PluginConf::read(&Fields::of(item, at)?))
        .collect()
}

/// The highest known version of `cniVersion` and `cniVersions`; versions yet to come are passed over
/// as long as a known one remains.
fn highest_version(fields: &Fields<'_>) -> Result<Version, CniError> {
    let mut stated = fields.strings("cniVersions")?;
    stated.extend(fields.text("cniVersion")?);
    if stated.is_empty() {
        return Ok(Version::UNSTATED);
    }
    let known = stated
        .iter()
        .filter_map(|text| text.parse::<Version>().ok())
        .max();
    known.ok_or_else(|| CniError::incompatible(&stated.join(", "), &Version::ALL))
}

/// A truth value, or the word for it as text, which libcni takes too.
fn flag(fields: &Fields<'_>, key: &str) -> Result<bool, BadField> {
    match fields.get(key).and_then(Value::as_str) {
        Some(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Ok(fields.bool(key)?.unwrap_or(false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(doc: &Value) -> Result<ConfList, CniError> {
        ConfList::parse(doc.to_string().as_bytes())
    }

    #[test]
    fn a_list_is_read_with_the_highest_known_version() {
        let list = parse(&json!({
            "cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0", "9.9.9"], "name": "lab",
            "disableCheck": "true", "disableGC": true, "loadOnlyInlinedPlugins": false,
            "plugins": [{"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": true}}],
        }))
        .unwrap();
        assert_eq!(list.cni_version, Version::V1_1_0);
        assert!(list.disable_check && list.disable_gc && !list.load_only_inlined_plugins);
        assert_eq!(list.plugins[0].plugin_type, "bridge");
        assert_eq!(list.plugins[1].capabilities, ["portMappings"]);
    }

    #[test]
    fn a_single_plugin_becomes_a_list_of_one() {
        let bytes = br#"{"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}"#;
        let list = ConfList::parse_single(bytes).unwrap();
        assert_eq!(
            (list.name.as_str(), list.cni_version),
            ("lo", Version::V0_3_1)
        );
        assert_eq!(list.plugins.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            (json!({"plugins": []}), 7, "name: is missing"),
            (
                json!({"name": "a", "plugins": []}),
                7,
                "plugins: the list is empty",
            ),
            (
                json!({"name": "a", "plugins": [{}]}),
                7,
                "plugins[0].type: is missing",
            ),
            (
                json!({"name": "a", "loadOnlyInlinedPlugins": true}),
                7,
                "plugins: the list is empty",
            ),
            (
                json!({"name": "a", "disableGC": "maybe"}),
                7,
                "disableGC: expected true or false",
            ),
            (
                json!({"name": "a", "cniVersion": "9.9.9"}),
                1,
                "incompatible CNI versions",
            ),
            (json!(5), 6, "read the network configuration"),
        ];
        for (doc, code, expected) in cases {
            let error = parse(&doc).unwrap_err();
            assert_eq!(error.code, code, "{doc}");
            assert!(error.msg.starts_with(expected), "{doc}: {error}");
        }
        assert!(parse(&json!({"name": "a"})).unwrap().plugins.is_empty());
    }
}
