//! What rtnetlink and /proc/sys tell about one namespace, read through iproute2.
//!
//! Called by the snapshot. It must not use our own netlink code, which is what the snapshot is to judge.

use serde_json::{Map, Value};

use super::World;
use crate::namespace::Namespace;

/// Attributes of a link's own or its port's details that somebody configures; the others move by themselves.
const DETAILS: [&str; 22] = [
    "ageing_time",
    "bcast_flood",
    "fastleave",
    "flood",
    "forward_delay",
    "guard",
    "hairpin",
    "isolated",
    "learning",
    "mcast_flood",
    "mcast_snooping",
    "mode",
    "neigh_suppress",
    "nf_call_ip6tables",
    "nf_call_iptables",
    "priority",
    "protocol",
    "root_block",
    "stp_state",
    "vlan_default_pvid",
    "vlan_filtering",
    "vlan_tunnel",
];

/// Sysctls of /proc/sys/net/ipv4/conf/LINK.
const IPV4: [&str; 8] = [
    "accept_local",
    "arp_announce",
    "arp_ignore",
    "arp_notify",
    "forwarding",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
];

/// Sysctls of /proc/sys/net/ipv6/conf/LINK.
const IPV6: [&str; 6] = [
    "accept_dad",
    "accept_ra",
    "disable_ipv6",
    "forwarding",
    "ndisc_notify",
    "proxy_ndp",
];

/// Notes the links, addresses, routes, rules, neighbours that somebody set and sysctls of `namespace`.
pub(super) fn observe(namespace: &Namespace, world: &mut World) {
    let place = namespace.name();
    let shown = listing(
        namespace,
        &["ip", "-j", "-d", "-batch", "-"],
        "addr show\nroute show table all\nrule show\nneigh show nud all\n",
    );
    let [links, routes, rules, neighbours] = &shown[..] else {
        panic!("ip answered {} documents of 4: {shown:?}", shown.len());
    };
    for link in links {
        note_link(place, link, world);
    }
    for route in routes.iter().filter(|r| !is_of_the_kernel(r)) {
        world.note(
            format!("{place} route {}", words(route, &["flags"])),
            String::new(),
        );
    }
    let rules6 = listing(
        namespace,
        &["ip", "-j", "-d", "-6", "-batch", "-"],
        "rule show\n",
    );
    for rule in rules.iter().chain(&rules6[0]) {
        world.note(format!("{place} rule {}", words(rule, &[])), String::new());
    }
    for neighbour in neighbours.iter().filter(|n| is_set(n)) {
        world.note(
            format!("{place} neighbour {}", words(neighbour, &["state"])),
            String::new(),
        );
    }
    note_sysctls(namespace, world);
}

/// Whether a program told the kernel of the neighbour: others come and go with traffic, and so does its state.
fn is_set(neighbour: &Value) -> bool {
    let permanent = |state: &Vec<Value>| state.iter().any(|word| word == "PERMANENT");
    neighbour.get("extern_learn").is_some() || neighbour["state"].as_array().is_some_and(permanent)
}

/// One list per line of the batch; `ip` prints nothing at all for a listing of nothing in some versions.
fn listing(namespace: &Namespace, argv: &[&str], batch: &str) -> Vec<Vec<Value>> {
    let output = namespace.try_exec(argv, batch);
    assert!(
        output.succeeded(),
        "{argv:?} in {}: {output}",
        namespace.name()
    );
    let documents = serde_json::Deserializer::from_str(&output.stdout).into_iter();
    documents
        .map(|list| {
            list.unwrap_or_else(|e| panic!("{argv:?} printed no JSON: {e}: {}", output.stdout))
        })
        .collect()
}

fn note_link(place: &str, link: &Value, world: &mut World) {
    let name = text(link, "ifname");
    let details = &link["linkinfo"];
    let mut state = vec![
        format!("kind {}", text(details, "info_kind")),
        format!("mtu {}", link["mtu"]),
        format!("mac {}", text(link, "address")),
        format!("flags {}", flags(link)),
    ];
    for key in ["master", "ifalias"] {
        if !link[key].is_null() {
            state.push(format!("{key} {}", text(link, key)));
        }
    }
    for part in ["info_data", "info_slave_data"] {
        let Some(values) = details[part].as_object() else {
            continue;
        };
        let wanted = values
            .iter()
            .filter(|(key, _)| DETAILS.contains(&key.as_str()));
        state.extend(wanted.map(|(key, value)| format!("{key} {value}")));
    }
    world.note(format!("{place} link {name}"), state.join(", "));
    let addresses = link["addr_info"].as_array().into_iter().flatten();
    for address in addresses.filter(|a| !text(a, "local").starts_with("fe80:")) {
        let ignored = [
            "valid_life_time",
            "preferred_life_time",
            "tentative",
            "label",
        ];
        world.note(
            format!("{place} address {name} {}", words(address, &ignored)),
            String::new(),
        );
    }
}

/// The flags that were set by somebody: carrier and running state follow by themselves.
fn flags(link: &Value) -> String {
    let by_itself = ["LOWER_UP", "NO-CARRIER", "M-DOWN", "DORMANT"];
    let flags = link["flags"].as_array().into_iter().flatten();
    let flags = flags
        .filter_map(Value::as_str)
        .filter(|f| !by_itself.contains(f));
    flags.collect::<Vec<_>>().join("+")
}

/// Routes that follow addresses and carrier by themselves, at the kernel's own time (a local route of IPv6 comes when
/// duplicate address detection ends).
fn is_of_the_kernel(route: &Value) -> bool {
    let to = text(route, "dst");
    let of_an_address = text(route, "table") == "local" && text(route, "protocol") == "kernel";
    of_an_address || to.starts_with("fe80:") || to.starts_with("ff00:")
}

/// `key value` of every member but the ignored and the null ones.
fn words(object: &Value, ignored: &[&str]) -> String {
    let empty = Map::new();
    let members = object.as_object().unwrap_or(&empty).iter();
    let told = members.filter(|(key, value)| !ignored.contains(&key.as_str()) && !value.is_null());
    let told = told.map(|(key, value)| match value {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    told.collect::<Vec<_>>().join(" ")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or("-")
}

fn note_sysctls(namespace: &Namespace, world: &mut World) {
    let values = namespace.run(|| {
        let mut values = Vec::new();
        let mut read = |key: String| {
            if let Ok(value) = std::fs::read_to_string(format!("/proc/sys/net/{key}")) {
                values.push((key, value.trim_end().to_owned()));
            }
        };
        for (family, keys) in [("ipv4", &IPV4[..]), ("ipv6", &IPV6[..])] {
            let links = std::fs::read_dir(format!("/proc/sys/net/{family}/conf"));
            for link in links.into_iter().flatten().flatten() {
                let link = link.file_name().to_string_lossy().into_owned();
                keys.iter()
                    .for_each(|key| read(format!("{family}/conf/{link}/{key}")));
            }
        }
        for key in [
            "bridge-nf-call-iptables",
            "bridge-nf-call-ip6tables",
            "bridge-nf-call-arptables",
        ] {
            read(format!("bridge/{key}"));
        }
        read("ipv4/ip_forward".to_owned());
        for family in ["ipv4", "ipv6"] {
            (1..=3).for_each(|n| read(format!("{family}/neigh/default/gc_thresh{n}")));
        }
        values
    });
    for (key, value) in values {
        world.note(format!("{} sysctl net/{key}", namespace.name()), value);
    }
}
