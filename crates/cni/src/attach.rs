//! Requests as the engine's arguments: who is attached, and who stays at a GC.
//! The CNI face of every plugin that the engine serves calls it.
//! It must never read a plugin's own keys.

use std::collections::HashSet;

use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::attachment::AttachmentKey;
use wharfline_core::engine::{Attach, Sweep};
use wharfline_spec::cni::NetConf;

use crate::plugin::Request;

/// The attachment of a request, with the MAC that its user asked for, if any.
#[must_use]
pub fn attach(request: &Request, mac: Option<MacAddr6>) -> Attach<'_> {
    Attach {
        key: AttachmentKey {
            network: request.conf.name.clone(),
            container: request.container.clone(),
            ifname: request.ifname.clone(),
        },
        netns: request.netns.clone(),
        mac,
        previous: request.conf.prev_result.as_ref(),
        labels: labels(request),
    }
}

/// What a GC of this network keeps.
#[must_use]
pub fn sweep(conf: &NetConf) -> Sweep<'_> {
    let valid: HashSet<AttachmentKey> = conf
        .valid_attachments
        .iter()
        .map(|attachment| AttachmentKey {
            network: conf.name.clone(),
            container: attachment.container.clone(),
            ifname: attachment.ifname.clone(),
        })
        .collect();
    Sweep {
        network: &conf.name,
        valid,
    }
}

/// Labels and names that the runtime gave, for the record.
fn labels(request: &Request) -> Map<String, Value> {
    let mut labels = Map::new();
    let given = request
        .conf
        .args
        .get("cni")
        .and_then(|cni| cni.get("labels"));
    if let Some(given) = given {
        labels.insert("labels".into(), given.clone());
    }
    let names = request
        .args
        .iter()
        .filter(|(key, _)| matches!(*key, "K8S_POD_NAME" | "K8S_POD_NAMESPACE"));
    labels.extend(names.map(|(key, name)| (key.to_owned(), Value::from(name))));
    labels
}
