//! The nftables ruleset as nft itself tells it, without what counts or differs from run to run.
//!
//! Called by the snapshot. Each set element is an object of its own, so a difference names the one that is left.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::World;
use crate::namespace::Namespace;

/// Notes every table, chain, rule, set and element of `namespace`.
pub(super) fn observe(namespace: &Namespace, world: &mut World) {
    let output = namespace.try_exec(&["nft", "-j", "list", "ruleset"], "");
    assert!(
        output.succeeded(),
        "nft list ruleset in {}: {output}",
        namespace.name()
    );
    let listed: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|e| panic!("nft printed no JSON: {e}: {}", output.stdout));
    let mut rules_in: BTreeMap<String, usize> = BTreeMap::new();
    for item in listed["nftables"].as_array().into_iter().flatten() {
        let Some((kind, body)) = item.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let mut body = settled(body);
        let table = format!(
            "{} nft {} {}",
            namespace.name(),
            text(&body, "family"),
            text(&body, "table")
        );
        match kind.as_str() {
            "metainfo" => {}
            "rule" => {
                let chain = format!("{table} chain {}", text(&body, "chain"));
                let number = rules_in.entry(chain.clone()).or_default();
                *number += 1;
                world.note(format!("{chain} rule {number}"), body["expr"].to_string());
            }
            "set" | "map" => {
                let elements = body.as_object_mut().and_then(|set| set.remove("elem"));
                let set = format!("{table} {kind} {}", text(&body, "name"));
                for element in elements.iter().filter_map(Value::as_array).flatten() {
                    world.note(format!("{set} element {element}"), String::new());
                }
                world.note(set, body.to_string());
            }
            _ => world.note(
                format!("{table} {kind} {}", text(&body, "name")),
                body.to_string(),
            ),
        }
    }
}

/// The value without handles, counts and remaining times.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let told = members
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "handle" | "expires"));
            let told = told.map(|(key, value)| match key.as_str() {
                "counter" => (key.clone(), Value::Null),
                _ => (key.clone(), settled(value)),
            });
            Value::Object(told.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        other => other.clone(),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or("-")
}
