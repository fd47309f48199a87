//! Runs the plugins of a list, verb by verb, as CNI SPEC 1.1.0 section 3 orders.
//! `wharf` and the tests call these; each plugin's own configuration is derived here.
//! Must never run a chained plugin without the result before it, and DEL never in ADD's order.

use std::ffi::OsString;

use serde_json::{Map, Value, json};
use wharfline_spec::NetworkName;
use wharfline_spec::cni::{Attachment, CniError, CniResult, ConfList, PluginConf, Version, code};

use super::{Attach, CachedAttachment, Client, ClientError, lock};
use crate::exec::{Call, find};
use crate::plugin::Verb;

impl Client {
    /// ADD: runs every plugin, each with the result of the one before, and keeps the last result.
    ///
    /// # Errors
    /// The first plugin that refuses. The caller must DEL then, too (SPEC, "Lifecycle & Ordering").
    pub fn add(&self, list: &ConfList, attach: &Attach) -> Result<CniResult, ClientError> {
        let _held = lock::shared(self.cache.root())?;
        let mut result = None;
        for plugin in &list.plugins {
            let conf = derive(list, plugin, result.as_ref(), Some(attach));
            let answer = self.call(list, plugin, Verb::Add, Some(attach), &conf)?;
            let read = answer
                .as_ref()
                .map(|a| CniResult::from_json_at(a, "", list.cni_version));
            result = read.transpose().map_err(|bad| {
                let error = CniError::new(code::DECODING_FAILURE, format!("its result: {bad}"));
                refused(list, plugin, Verb::Add, error)
            })?;
        }
        let result = result.unwrap_or_default();
        self.cache.put(list, attach, &result)?;
        Ok(result)
    }

    /// DEL: runs every plugin in reverse order with the result of the ADD, and forgets it.
    ///
    /// # Errors
    /// The first plugin that refuses; the cached result stays for the next DEL.
    pub fn del(&self, list: &ConfList, attach: &Attach) -> Result<(), ClientError> {
        let _held = lock::shared(self.cache.root())?;
        self.del_unlocked(list, attach)
    }

    fn del_unlocked(&self, list: &ConfList, attach: &Attach) -> Result<(), ClientError> {
        // A result that cannot be read is no reason to keep what it described.
        let cached = self.cache.get(&list.name, attach).ok().flatten();
        let result = cached
            .and_then(|c| c.result)
            .filter(|_| list.cni_version >= Version::V0_4_0);
        for plugin in list.plugins.iter().rev() {
            let conf = derive(list, plugin, result.as_ref(), Some(attach));
            self.call(list, plugin, Verb::Del, Some(attach), &conf)?;
        }
        self.cache.remove(&list.name, attach)
    }

    /// CHECK: asks every plugin, in ADD's order, whether the attachment is as the ADD left it.
    ///
    /// # Errors
    /// The first plugin that finds a difference; a version below 0.4.0; no cached result.
    pub fn check(&self, list: &ConfList, attach: &Attach) -> Result<(), ClientError> {
        if list.cni_version < Verb::Check.since() {
            let (network, version) = (list.name.clone(), list.cni_version);
            return Err(ClientError::Unsupported {
                network,
                version,
                verb: Verb::Check,
            });
        }
        if list.disable_check {
            return Ok(());
        }
        // A plugin has nothing to compare with unless it is given what the ADD answered.
        let cached = self.cache.get(&list.name, attach)?;
        let result = match cached.and_then(|c| c.result) {
            Some(result) => Some(result),
            None => return Err(self.cache.has_none(&list.name, attach)),
        };
        for plugin in &list.plugins {
            let conf = derive(list, plugin, result.as_ref(), Some(attach));
            self.call(list, plugin, Verb::Check, Some(attach), &conf)?;
        }
        Ok(())
    }

    /// GC: deletes cached attachments of the network that are not among `valid`, then lets every plugin
    /// collect (from 1.1.0 on), as libcni does. Nothing happens when the list says `disableGC`.
    ///
    /// The cache is that of every runtime that keeps it in the same place: `valid` must name theirs.
    ///
    /// # Errors
    /// Every step that failed; the others are done all the same.
    pub fn gc(&self, list: &ConfList, valid: &[Attachment]) -> Result<(), ClientError> {
        if list.disable_gc {
            return Ok(());
        }
        let _held = lock::exclusive(self.cache.root())?;
        let mut failed = Vec::new();
        for stale in self.stale(&list.name, valid)? {
            failed.extend(self.del_unlocked(list, &stale.attach).err());
        }
        if list.cni_version >= Verb::Gc.since() {
            let valid: Value = valid.iter().map(attachment).collect();
            for plugin in &list.plugins {
                let mut conf = derive(list, plugin, None, None);
                conf.insert("cni.dev/valid-attachments".into(), valid.clone());
                // The specification's text once had this name; plugins may look for either.
                conf.insert("cni.dev/attachments".into(), valid.clone());
                failed.extend(self.call(list, plugin, Verb::Gc, None, &conf).err());
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Several(failed))
        }
    }

    fn stale(
        &self,
        network: &NetworkName,
        valid: &[Attachment],
    ) -> Result<Vec<CachedAttachment>, ClientError> {
        let is_valid = |c: &CachedAttachment| {
            valid
                .iter()
                .any(|v| v.container == c.attach.container && v.ifname == c.attach.ifname)
        };
        let cached = self.cache.all()?.into_iter().filter_map(Result::ok);
        Ok(cached
            .filter(|c| c.network == *network && !is_valid(c))
            .collect())
    }

    /// STATUS: asks every plugin whether it could serve an ADD; before 1.1.0 nobody is asked.
    ///
    /// # Errors
    /// The first plugin that could not (code 50 or 51).
    pub fn status(&self, list: &ConfList) -> Result<(), ClientError> {
        if list.cni_version < Verb::Status.since() {
            return Ok(());
        }
        for plugin in &list.plugins {
            let conf = derive(list, plugin, None, None);
            self.call(list, plugin, Verb::Status, None, &conf)?;
        }
        Ok(())
    }

    /// VERSION: the versions that the plugins of the list have in common, oldest first.
    ///
    /// # Errors
    /// A plugin that cannot be asked.
    pub fn versions(&self, list: &ConfList) -> Result<Vec<Version>, ClientError> {
        let mut common = Version::ALL.to_vec();
        for plugin in &list.plugins {
            let conf = json!({ "cniVersion": list.cni_version.as_str() });
            let conf = conf.as_object().cloned().unwrap_or_default();
            let answer = self
                .call(list, plugin, Verb::Version, None, &conf)?
                .unwrap_or_default();
            let supported: Vec<&str> = match answer["supportedVersions"].as_array() {
                Some(list) => list.iter().filter_map(Value::as_str).collect(),
                None => Vec::new(),
            };
            common.retain(|v| supported.contains(&v.as_str()));
        }
        Ok(common)
    }

    /// The cached attachment of `attach` on the network.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn cached(
        &self,
        network: &NetworkName,
        attach: &Attach,
    ) -> Result<Option<CachedAttachment>, ClientError> {
        self.cache.get(network, attach)
    }

    /// Every cached attachment of every runtime that keeps its results in the same place.
    ///
    /// # Errors
    /// When the folder cannot be read; a file that cannot be used is an error in its place.
    pub fn cached_all(&self) -> Result<Vec<Result<CachedAttachment, ClientError>>, ClientError> {
        self.cache.all()
    }

    fn call(
        &self,
        list: &ConfList,
        plugin: &PluginConf,
        verb: Verb,
        attach: Option<&Attach>,
        conf: &Map<String, Value>,
    ) -> Result<Option<Value>, ClientError> {
        let run = || {
            let binary = find(&plugin.plugin_type, &self.path)?;
            let env = self.environment(verb, attach)?;
            let stdin = Value::Object(conf.clone()).to_string().into_bytes();
            Call {
                binary: &binary,
                env,
                stdin,
                prepare: |_| (),
            }
            .run()
        };
        run().map_err(|error| refused(list, plugin, verb, error))
    }

    fn environment(
        &self,
        verb: Verb,
        attach: Option<&Attach>,
    ) -> Result<Vec<(&'static str, OsString)>, CniError> {
        let path = std::env::join_paths(&self.path)
            .map_err(|e| CniError::new(code::INVALID_ENVIRONMENT, format!("CNI_PATH: {e}")))?;
        let text = |f: fn(&Attach) -> OsString| attach.map(f).unwrap_or_default();
        // Every variable is set, empty where it says nothing, so that none is inherited from us.
        Ok(vec![
            ("CNI_COMMAND", verb.as_str().into()),
            ("CNI_CONTAINERID", text(|a| a.container.as_str().into())),
            (
                "CNI_NETNS",
                text(|a| a.netns.clone().unwrap_or_default().into_os_string()),
            ),
            ("CNI_IFNAME", text(|a| a.ifname.as_str().into())),
            ("CNI_ARGS", text(|a| pairs(&a.args).into())),
            ("CNI_PATH", path),
        ])
    }
}

/// The configuration of one plugin (SPEC, "Deriving request configuration from plugin configuration").
fn derive(
    list: &ConfList,
    plugin: &PluginConf,
    prev_result: Option<&CniResult>,
    attach: Option<&Attach>,
) -> Map<String, Value> {
    let mut conf = plugin.raw.clone();
    conf.insert("cniVersion".into(), list.cni_version.as_str().into());
    conf.insert("name".into(), list.name.as_str().into());
    if let Some(result) = prev_result {
        conf.insert("prevResult".into(), result.to_json(list.cni_version));
    }
    let declared = |(key, _): &(&String, &Value)| plugin.capabilities.contains(key);
    let given = attach.map(|a| a.capabilities.iter().filter(declared));
    let runtime: Map<String, Value> = given
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !runtime.is_empty() {
        conf.insert("runtimeConfig".into(), Value::Object(runtime));
    }
    conf
}

fn pairs(args: &[(String, String)]) -> String {
    args.iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect::<Vec<_>>()
        .join(";")
}

fn attachment(valid: &Attachment) -> Value {
    json!({ "containerID": valid.container.as_str(), "ifname": valid.ifname.as_str() })
}

fn refused(list: &ConfList, plugin: &PluginConf, verb: Verb, error: CniError) -> ClientError {
    let (plugin, network) = (plugin.plugin_type.clone(), list.name.clone());
    ClientError::Plugin {
        plugin,
        network,
        verb,
        error,
    }
}
