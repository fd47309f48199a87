//! A host with one network, and calls of host-local for containers on it, ours and the reference's.
//! Used by the tests of the binary; each has a host of its own.
//! Must never touch the machine's /var/lib or /run: the lab's are its own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wharfline_testkit::{Call, Lab, Plugins, Verb};

/// Where leases of the network `net` are.
pub(crate) const LEASES: &str = "/var/lib/cni/networks/net";

pub(crate) struct Host {
    pub(crate) lab: Lab,
    pub(crate) ours: Plugins,
    pub(crate) reference: Plugins,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host {
            lab: Lab::new(),
            ours: Plugins::ours(),
            reference: Plugins::reference(),
        }
    }

    /// The call of `plugins`' host-local for `eth0` of a container.
    pub(crate) fn call(
        &self,
        plugins: &Plugins,
        verb: Verb,
        conf: &Value,
        container: &str,
    ) -> Call {
        let call = Call::raw(plugins, "host-local", verb, conf.to_string());
        match verb {
            Verb::Gc | Verb::Status | Verb::Version => call,
            _ => call
                .env("CNI_CONTAINERID", container)
                .env("CNI_IFNAME", "eth0")
                .env("CNI_NETNS", &format!("/run/netns/{container}")),
        }
    }

    /// Our answer, which must be a success.
    #[track_caller]
    pub(crate) fn ok(&self, verb: Verb, conf: &Value, container: &str) -> Value {
        self.call(&self.ours, verb, conf, container)
            .make(&self.lab)
            .ok()
    }

    /// The reference's answer, which must be a success.
    #[track_caller]
    pub(crate) fn reference_ok(&self, verb: Verb, conf: &Value, container: &str) -> Value {
        self.call(&self.reference, verb, conf, container)
            .make(&self.lab)
            .ok()
    }

    /// Our refusal: its code and its words.
    #[track_caller]
    pub(crate) fn refused(&self, verb: Verb, conf: &Value, container: &str, code: u32) -> String {
        self.call(&self.ours, verb, conf, container)
            .make(&self.lab)
            .refused(code)
    }

    /// The leases of `net`: content by file name, the hints and the lock left out.
    pub(crate) fn leases(&self) -> BTreeMap<String, String> {
        let folder = self.lab.path(LEASES);
        let Ok(listing) = std::fs::read_dir(&folder) else {
            return BTreeMap::new();
        };
        let names = listing.map(|entry| {
            let entry = entry.expect("read a lease directory");
            entry
                .file_name()
                .into_string()
                .expect("a name that is text")
        });
        let leases = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok());
        let read = |name: String| {
            let holder = std::fs::read_to_string(folder.join(&name)).expect("read a lease");
            (name, holder)
        };
        leases.map(read).collect()
    }
}

/// A configuration of `net` with these ranges, in the newest version that the packaged reference has.
pub(crate) fn conf(ranges: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge",
        "ipam": {"type": "host-local", "ranges": ranges}})
}

/// The same in the version that has GC and STATUS.
pub(crate) fn newest(conf: &Value) -> Value {
    let mut conf = conf.clone();
    conf["cniVersion"] = "1.1.0".into();
    conf
}

/// The configuration of a GC for which only `eth0` of these containers is valid.
pub(crate) fn with_valid(conf: &Value, containers: &[&str]) -> Value {
    let mut conf = newest(conf);
    let valid = containers
        .iter()
        .map(|c| json!({"containerID": c, "ifname": "eth0"}));
    conf["cni.dev/valid-attachments"] = valid.collect();
    conf
}

pub(crate) fn one_subnet() -> Value {
    conf(&json!([[{"subnet": "10.1.0.0/24"}]]))
}

pub(crate) fn two_families() -> Value {
    conf(&json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:0:0:1::/64"}]]))
}

/// The addresses of a result.
pub(crate) fn addresses(result: &Value) -> Vec<&str> {
    let ips = result["ips"].as_array().expect("a result with addresses");
    ips.iter()
        .map(|ip| ip["address"].as_str().expect("an address"))
        .collect()
}
