//! Capabilities, kernel parameters and limits that decide whether containers reach anything.
//! `doctor` shows them.
//! It must never complain of what the plugins see to by themselves.

use std::fs;
use std::path::Path;

use super::Finding;
use crate::gc;
use crate::home::Home;

/// CAP_NET_ADMIN and CAP_SYS_ADMIN (linux/capability.h).
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
/// Share of the table of connections from which new ones are about to be refused, in percent.
const ALMOST_FULL: u64 = 90;

/// The findings.
pub(super) fn all(home: &Home) -> Vec<Finding> {
    let mut findings = vec![capabilities(), forwarding(home)];
    findings.extend(bridged());
    findings.extend(connections());
    findings.extend(legacy_tables());
    findings.extend(mtu());
    findings
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let lacks = |bit: u32| effective.is_none_or(|set| set & (1 << bit) == 0);
    let missing = NEEDED.iter().filter(|(bit, _)| lacks(*bit));
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    match missing.is_empty() {
        true => Finding::fine("capabilities", "all that plugins need"),
        false => Finding::problem(
            "capabilities",
            format!("{} missing", missing.join(" and ")),
            "run as root, in the host's own user namespace",
        ),
    }
}

/// The plugins switch it on with the first container; somebody else may have switched it off again.
fn forwarding(home: &Home) -> Finding {
    let object = "sysctl net.ipv4.ip_forward";
    let living = gc::living(home).unwrap_or_default();
    match (sysctl("net/ipv4/ip_forward").as_deref(), living.is_empty()) {
        (Some("1"), _) => Finding::fine(object, "1"),
        (Some(_), true) => Finding::fine(object, "0: the first container switches it on"),
        (Some(value), false) => Finding::problem(
            object,
            format!("{value} while containers are attached: they reach nothing beyond this host"),
            "sysctl -w net.ipv4.ip_forward=1, and see who has switched it off (/etc/sysctl.d)",
        ),
        (None, _) => Finding::problem(object, "cannot be read", "mount /proc"),
    }
}

fn bridged() -> Option<Finding> {
    let object = "sysctl net.bridge.bridge-nf-call-iptables";
    match sysctl("net/bridge/bridge-nf-call-iptables")?.as_str() {
        "0" => Some(Finding::fine(object, "0")),
        value => Some(Finding::note(
            object,
            format!(
                "{value}: traffic within a bridge passes the host's forward chains as well (Docker and Kubernetes want that)"
            ),
            "CNI networks need \"hairpinMode\": true for a container to reach its own published port by the host's address",
        )),
    }
}

fn connections() -> Option<Finding> {
    let number = |key: &str| sysctl(key)?.parse::<u64>().ok();
    let most = number("net/netfilter/nf_conntrack_max")?;
    let now = number("net/netfilter/nf_conntrack_count")?;
    let told = format!("{now} of {most} connections");
    // 0 means that there is no limit (nf_conntrack-sysctl.rst).
    match most > 0 && now.saturating_mul(100) >= most.saturating_mul(ALMOST_FULL) {
        false => Some(Finding::fine("connection tracking", told)),
        true => Some(Finding::problem(
            "connection tracking",
            format!("{told}: new ones are dropped when it is full"),
            "raise net.netfilter.nf_conntrack_max",
        )),
    }
}

/// Tables of iptables-legacy that somebody uses; whether they drop our packets, the plugins' STATUS says.
fn legacy_tables() -> Vec<Finding> {
    let families = [
        ("iptables-legacy", "ip_tables_names"),
        ("ip6tables-legacy", "ip6_tables_names"),
    ];
    let in_use = |(program, file): (&str, &str)| {
        let names = fs::read_to_string(Path::new("/proc/self/net").join(file)).ok()?;
        let names: Vec<&str> = names.lines().collect();
        (!names.is_empty()).then(|| {
            Finding::note(
                program,
                format!("tables {} are in use, beside nftables", names.join(", ")),
                "what they drop is dropped whatever nftables accepts; switch to iptables-nft if you can",
            )
        })
    };
    families.into_iter().filter_map(in_use).collect()
}

/// Bridges of ours whose packets are too large for the way out.
fn mtu() -> Vec<Finding> {
    let Some((uplink, most)) = uplink() else {
        return vec![Finding::note(
            "way out",
            "there is no IPv4 default route: containers reach this host and its neighbours only",
            "",
        )];
    };
    let links = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let too_large = links.filter_map(|link| {
        let (path, name) = (link.path(), link.file_name());
        let mtu = mtu_of(&path)?;
        // What our bridges' MACs begin with (docs/architecture.md, "Identity").
        let ours = text(&path.join("address"))?.starts_with("0a:5a:");
        (ours && path.join("bridge").exists() && mtu > most).then(|| {
            Finding::problem(
                format!("MTU of {}", name.display()),
                format!("{mtu}, of the way out ({uplink}) {most}: large packets get lost"),
                "give the network an MTU (CNI: \"mtu\"; Docker: -o com.docker.network.driver.mtu), and make it anew",
            )
        })
    });
    let mut findings: Vec<Finding> = too_large.collect();
    if findings.is_empty() {
        findings.push(Finding::fine(
            "MTU",
            format!("no bridge has more than the way out ({uplink}, {most})"),
        ));
    }
    findings
}

/// The link of the default route, and its MTU.
fn uplink() -> Option<(String, u32)> {
    let routes = fs::read_to_string("/proc/self/net/route").ok()?;
    // Columns: interface, destination, gateway, flags, ..., mask (net/ipv4/fib_trie.c, fib_route_seq_show()).
    let is_default = |fields: &Vec<&str>| {
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    };
    let mut lines = routes
        .lines()
        .skip(1)
        .map(|line| line.split_ascii_whitespace().collect());
    let link = lines.find(is_default)?.first()?.to_string();
    let mtu = mtu_of(&Path::new("/sys/class/net").join(&link))?;
    Some((link, mtu))
}

fn mtu_of(link: &Path) -> Option<u32> {
    text(&link.join("mtu"))?.parse().ok()
}

fn sysctl(key: &str) -> Option<String> {
    text(&Path::new("/proc/sys").join(key))
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}
