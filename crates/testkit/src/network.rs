//! A network configuration list driven step by step, as libcni does (CNI SPEC, section 3): prevResult handed on,
//! runtimeConfig by capability, DEL in reverse order.
//!
//! Called by tests, which need each step of it in their hands (to kill, to fail, to leave out); it must stay independent
//! of the client in crates/cni, which is itself under test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::plugin::{Attachment, Call, Outcome, Plugins, Verb};

/// A conflist, the plugins that serve it, and the results that its attachments got.
pub struct Network<'lab> {
    lab: &'lab Lab,
    plugins: Plugins,
    list: Value,
    runtime: Value,
    cni_args: String,
    results: Arc<Mutex<HashMap<Attachment, Value>>>,
}

impl<'lab> Network<'lab> {
    /// A network on the lab's host, from a list as it stands in /etc/cni/net.d.
    pub fn new(lab: &'lab Lab, plugins: &Plugins, list: Value) -> Network<'lab> {
        Network {
            lab,
            plugins: plugins.clone(),
            list,
            runtime: json!({}),
            cni_args: String::new(),
            results: Arc::default(),
        }
    }

    /// The same network as the runtime sees it for one container: values by capability (`portMappings`, `mac`, ...). The
    /// kept results are shared.
    pub fn with_runtime(&self, runtime: Value) -> Network<'lab> {
        Network {
            lab: self.lab,
            plugins: self.plugins.clone(),
            list: self.list.clone(),
            runtime,
            cni_args: self.cni_args.clone(),
            results: Arc::clone(&self.results),
        }
    }

    /// The same with CNI_ARGS.
    pub fn with_args(&self, args: &str) -> Network<'lab> {
        Network {
            cni_args: args.to_owned(),
            ..self.with_runtime(self.runtime.clone())
        }
    }

    /// The same served by other plugins.
    pub fn served_by(&self, plugins: &Plugins) -> Network<'lab> {
        Network {
            plugins: plugins.clone(),
            ..self.with_runtime(self.runtime.clone())
        }
    }

    /// How many plugins the list has.
    pub fn steps(&self) -> usize {
        self.list["plugins"].as_array().map_or(0, Vec::len)
    }

    /// The lab it lives in.
    pub fn lab(&self) -> &'lab Lab {
        self.lab
    }

    /// The configuration that the `step`-th plugin reads (CNI SPEC, "Deriving execution configuration").
    pub fn config(&self, step: usize, previous: Option<&Value>) -> Value {
        let mut config = self.list["plugins"][step].clone();
        let object = config.as_object_mut().expect("a plugin is an object");
        for key in ["cniVersion", "name"] {
            object.insert(key.to_owned(), self.list[key].clone());
        }
        let wanted = object
            .get("capabilities")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let runtime: Map<String, Value> = wanted
            .iter()
            .filter(|(_, on)| **on == Value::Bool(true))
            .filter_map(|(name, _)| Some((name.clone(), self.runtime.get(name)?.clone())))
            .collect();
        if !runtime.is_empty() {
            object.insert("runtimeConfig".to_owned(), runtime.into());
        }
        if let Some(previous) = previous {
            object.insert("prevResult".to_owned(), previous.clone());
        }
        config
    }

    /// The call of the `step`-th plugin.
    pub fn call(
        &self,
        verb: Verb,
        step: usize,
        attachment: &Attachment,
        previous: Option<&Value>,
    ) -> Call {
        let call = Call::new(
            &self.plugins,
            verb,
            &self.config(step, previous),
            attachment,
        );
        if self.cni_args.is_empty() {
            call
        } else {
            call.env("CNI_ARGS", &self.cni_args)
        }
    }

    /// ADD of the whole list; the result of the last plugin, which is kept for DEL and CHECK.
    ///
    /// # Panics
    ///
    /// If a plugin fails.
    #[track_caller]
    pub fn add(&self, attachment: &Attachment) -> Value {
        self.try_add(attachment)
            .unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// ADD; at the first failure that plugin's outcome, with nothing undone (a runtime would send DEL now).
    pub fn try_add(&self, attachment: &Attachment) -> Result<Value, Box<Outcome>> {
        let mut previous = None;
        for step in 0..self.steps() {
            let outcome = self
                .call(Verb::Add, step, attachment, previous.as_ref())
                .make(self.lab);
            if !outcome.succeeded() {
                return Err(Box::new(outcome));
            }
            previous = Some(outcome.document());
        }
        let result = previous.unwrap_or_default();
        self.results
            .lock()
            .expect("the results")
            .insert(key(attachment), result.clone());
        Ok(result)
    }

    /// DEL of the whole list, with the kept result if there is one.
    ///
    /// # Panics
    ///
    /// If a plugin fails or prints anything.
    #[track_caller]
    pub fn del(&self, attachment: &Attachment) {
        let previous = self
            .results
            .lock()
            .expect("the results")
            .remove(&key(attachment));
        for step in (0..self.steps()).rev() {
            let outcome = self
                .call(Verb::Del, step, attachment, previous.as_ref())
                .make(self.lab);
            assert_eq!(outcome.ok(), Value::Null, "{outcome}: DEL prints nothing");
        }
    }

    /// Loses the kept results, as a runtime does whose state directory is gone.
    pub fn forget_results(&self) {
        self.results.lock().expect("the results").clear();
    }

    /// CHECK of the whole list; the first failure, if any.
    pub fn check(&self, attachment: &Attachment) -> Result<(), Box<Outcome>> {
        let result = self
            .results
            .lock()
            .expect("the results")
            .get(&key(attachment))
            .cloned();
        for step in 0..self.steps() {
            let outcome = self
                .call(Verb::Check, step, attachment, result.as_ref())
                .make(self.lab);
            if !outcome.succeeded() {
                return Err(Box::new(outcome));
            }
        }
        Ok(())
    }

    /// GC of the whole list: only `valid` are still attached.
    #[track_caller]
    pub fn gc(&self, valid: &[&Attachment]) {
        let valid = valid
            .iter()
            .map(|a| json!({"containerID": a.container, "ifname": a.ifname}));
        let valid = Value::Array(valid.collect());
        for step in 0..self.steps() {
            self.of_network(Verb::Gc, step, &valid).make(self.lab).ok();
        }
    }

    /// STATUS of the `step`-th plugin.
    pub fn status(&self, step: usize) -> Outcome {
        self.of_network(Verb::Status, step, &Value::Null)
            .make(self.lab)
    }

    /// A call that is about no container: GC with its list of attachments, or STATUS.
    pub fn of_network(&self, verb: Verb, step: usize, valid: &Value) -> Call {
        let mut config = self.config(step, None);
        if verb == Verb::Gc {
            config["cni.dev/valid-attachments"] = valid.clone();
        }
        let kind = config["type"]
            .as_str()
            .expect("a configuration with a type")
            .to_owned();
        Call::raw(&self.plugins, &kind, verb, config.to_string())
    }
}

/// A result belongs to container and interface, whatever became of the namespace.
fn key(attachment: &Attachment) -> Attachment {
    attachment.without_netns()
}
