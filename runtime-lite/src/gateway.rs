//! Which of a container's networks is its way out: the one with the highest `gw-priority`, as with Docker.
//! `connection` reads the option, `attach` tells the plugins, by a metric of each default route.
//! It must never need another interface to be changed: what the kernel prefers is decided by the metrics alone, so the next
//! best takes over when a network is disconnected.

use serde_json::{Value, json};
use wharfline_spec::cni::{ConfList, Version};

use crate::container::Rank;

/// How far priorities go, up and down.
const MOST: i32 = 1000;
/// How many of one priority are told apart.
const TURNS: u32 = 1000;

impl Rank {
    /// The metric of the default route: the lowest wins.
    pub(crate) fn metric(self) -> u32 {
        let below = MOST - self.priority.clamp(-MOST, MOST);
        below.unsigned_abs() * TURNS + self.turn.min(TURNS - 1)
    }
}

/// A `gw-priority`.
pub(crate) fn priority(given: &str) -> Option<i32> {
    let number: i32 = given.parse().ok()?;
    (-MOST..=MOST).contains(&number).then_some(number)
}

/// Whether the network's plugins pass metrics on: routes have had them since CNI 1.1.0.
pub(crate) fn is_by_metric(list: &ConfList) -> bool {
    list.cni_version >= Version::V1_1_0
}

/// Gives each default route of the network's its metric, but for one that its configuration has given one.
pub(crate) fn give_metrics(list: &ConfList, plugins: &mut [Value], rank: Rank) {
    if !is_by_metric(list) {
        return;
    }
    let routes = plugins
        .iter_mut()
        .filter_map(|plugin| plugin.pointer_mut("/ipam/routes")?.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut);
    for route in routes {
        let target = route.get("dst").and_then(Value::as_str);
        if matches!(target, Some("0.0.0.0/0" | "::/0")) && !route.contains_key("priority") {
            route.insert("priority".to_owned(), json!(rank.metric()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(priority: i32, turn: u32) -> u32 {
        Rank { priority, turn }.metric()
    }

    #[test]
    fn priority_comes_before_turn() {
        assert!(rank(1, 999) < rank(0, 0));
        assert!(rank(0, 0) < rank(0, 1));
        assert!(rank(0, 2000) < rank(-1, 0));
        assert!(rank(1000, 0) < rank(999, 0));
    }

    #[test]
    fn default_routes_get_a_metric_unless_they_have_one() {
        let given = json!({
            "cniVersion": "1.1.0",
            "name": "n",
            "plugins": [{"type": "bridge", "ipam": {"routes": [
                {"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8"}, {"dst": "::/0", "priority": 7},
            ]}}],
        });
        let list = ConfList::parse(given.to_string().as_bytes()).expect("a list");
        let mut plugins: Vec<Value> = list.plugins.iter().map(|p| p.raw.clone().into()).collect();
        give_metrics(&list, &mut plugins, Rank::default());
        let routes = &plugins[0]["ipam"]["routes"];
        assert_eq!(routes[0]["priority"], 1_000_000);
        assert!(routes[1].get("priority").is_none());
        assert_eq!(routes[2]["priority"], 7);
    }
}
