//! Calls another plugin from within a plugin: an address plugin that is not ours.
//! Used by interface plugins whose `ipam.type` they do not serve in process.
//! Must never change the plugin's error, and never outlive it: the child dies with us.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;
use wharfline_spec::cni::{CniError, CniResult, NetConf, code};

use crate::exec::{Call, find};
use crate::plugin::{NetworkRequest, Request, Verb};

/// A foreign plugin, found but not yet called.
///
/// It gets the environment of this process with the `CNI_` variables of the request, and the whole
/// configuration as we got it (CNI SPEC 1.1.0, section 4). Call it from a thread that lives until the
/// call returns: the kernel kills the child when the thread that started it ends (PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Delegate {
    binary: PathBuf,
}

impl Delegate {
    /// Finds the binary of `plugin_type` in the directories of `CNI_PATH`.
    ///
    /// # Errors
    /// Code 7 when the type is no file name, 4 when no directory has it.
    pub fn find(plugin_type: &str, path: &[PathBuf]) -> Result<Delegate, CniError> {
        Ok(Delegate {
            binary: find(plugin_type, path)?,
        })
    }

    /// ADD: takes what the plugin gives.
    ///
    /// # Errors
    /// The plugin's own error; code 6 when its result cannot be read.
    pub fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let unreadable = |msg: String| CniError::new(code::DECODING_FAILURE, msg);
        let name = self.binary.display();
        let document = self.attachment_call(Verb::Add, request)?;
        let document =
            document.ok_or_else(|| unreadable(format!("{name}: ADD printed no result")))?;
        CniResult::from_json_at(&document, "", request.conf.cni_version)
            .map_err(|bad| unreadable(format!("read the result of {name}: {bad}")))
    }

    /// DEL: gives it back. May be called from any verb, to undo [`Delegate::add`].
    ///
    /// # Errors
    /// The plugin's own error.
    pub fn del(&self, request: &Request) -> Result<(), CniError> {
        self.attachment_call(Verb::Del, request).map(drop)
    }

    /// CHECK.
    ///
    /// # Errors
    /// The plugin's own error.
    pub fn check(&self, request: &Request) -> Result<(), CniError> {
        self.attachment_call(Verb::Check, request).map(drop)
    }

    /// GC: hands the valid attachments on.
    ///
    /// # Errors
    /// The plugin's own error.
    pub fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.network_call(Verb::Gc, request).map(drop)
    }

    /// STATUS.
    ///
    /// # Errors
    /// The plugin's own error.
    pub fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        self.network_call(Verb::Status, request).map(drop)
    }

    fn attachment_call(&self, verb: Verb, request: &Request) -> Result<Option<Value>, CniError> {
        let netns = request.netns.clone().unwrap_or_default().into_os_string();
        let mut env = common(verb, &request.path)?;
        env.push(("CNI_CONTAINERID", request.container.as_str().into()));
        env.push(("CNI_NETNS", netns));
        env.push(("CNI_IFNAME", request.ifname.as_str().into()));
        env.push(("CNI_ARGS", request.args_text.clone().into()));
        self.call(env, &request.conf)
    }

    fn network_call(
        &self,
        verb: Verb,
        request: &NetworkRequest,
    ) -> Result<Option<Value>, CniError> {
        self.call(common(verb, &request.path)?, &request.conf)
    }

    fn call(
        &self,
        env: Vec<(&'static str, OsString)>,
        conf: &NetConf,
    ) -> Result<Option<Value>, CniError> {
        let stdin = serde_json::to_vec(&conf.raw).map_err(|e| {
            CniError::new(
                code::INTERNAL,
                format!("write the configuration for {}: {e}", self.binary.display()),
            )
        })?;
        let prepare = wharfline_kernel::child::die_with_this_thread;
        Call {
            binary: &self.binary,
            env,
            stdin,
            prepare,
        }
        .run()
    }
}

fn common(verb: Verb, path: &[PathBuf]) -> Result<Vec<(&'static str, OsString)>, CniError> {
    let path = std::env::join_paths(path)
        .map_err(|e| CniError::new(code::INVALID_ENVIRONMENT, format!("CNI_PATH: {e}")))?;
    Ok(vec![
        ("CNI_COMMAND", verb.as_str().into()),
        ("CNI_PATH", path),
    ])
}

#[cfg(test)]
mod tests;
