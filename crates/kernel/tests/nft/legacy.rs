//! iptables-legacy: seen where it drops, with a command that mends it. Chains stand beside those of nftables.

use wharfline_kernel::legacy_filter::dropping;

use crate::lab::{become_host, run, try_run};

/// What the chains of this namespace say that keep us out.
fn told() -> Vec<String> {
    let dropping = dropping().expect("read");
    dropping
        .iter()
        .filter(|chain| !chain.lets_us_through())
        .map(ToString::to_string)
        .collect()
}

/// The command between the quotes of what a chain says.
fn advice(told: &str) -> &str {
    told.split('`').nth(1).expect("a command")
}

/// Whether this kernel has iptables-legacy's tables at all; some are built without.
fn has_legacy() -> bool {
    try_run("iptables-legacy -L -n && ip6tables-legacy -L -n")
        .status
        .success()
}

#[test]
fn a_host_without_its_tables_is_asked_nothing_and_gets_none() {
    become_host();
    assert_eq!(told(), [""; 0]);
    let names = run("cat /proc/net/ip_tables_names 2>/dev/null || true");
    assert_eq!(names, "", "asking made a table");
}

#[test]
fn a_dropping_policy_is_told_and_the_command_that_is_told_mends_it() {
    become_host();
    if !has_legacy() {
        return;
    }
    run("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    assert_eq!(told(), [""; 0], "both accept");
    run("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP");
    let both = told();
    assert_eq!(both.len(), 2);
    assert!(
        both[0].starts_with("iptables-legacy's FORWARD drops"),
        "{both:?}"
    );
    assert!(
        both[1].starts_with("ip6tables-legacy's FORWARD drops"),
        "{both:?}"
    );
    run(advice(&both[0]));
    assert_eq!(told(), both[1..]);
    run(advice(&both[1]));
    assert_eq!(told(), [""; 0]);
    assert_eq!(dropping().map(|chains| chains.len()), Ok(2), "still known");
}

#[test]
fn the_rule_counts_only_in_front_of_what_drops() {
    become_host();
    if !has_legacy() {
        return;
    }
    run("iptables-legacy -A FORWARD -p tcp --dport 22 -j ACCEPT
         iptables-legacy -A FORWARD -i lo -j DROP
         iptables-legacy -A INPUT -j DROP");
    assert_eq!(told(), [""; 0], "what it drops is not everything forwarded");
    run("iptables-legacy -A FORWARD -m comment --comment 'the rest' -j REJECT");
    let alone = told();
    assert_eq!(alone.len(), 1);
    run("iptables-legacy -A FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT");
    assert_eq!(told(), alone, "it stands behind");
    run(
        "iptables-legacy -I FORWARD 2 -m mark --mark 0x1000/0x1000 -m comment --comment x -j ACCEPT",
    );
    assert_eq!(told(), [""; 0]);
}

#[test]
fn a_host_that_forwards_no_ipv6_is_not_told_of_it() {
    become_host();
    if !has_legacy() {
        return;
    }
    run("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding");
    run("ip6tables-legacy -P FORWARD DROP");
    assert_eq!(told(), [""; 0]);
}

#[test]
fn a_chain_of_thousands_is_read_whole() {
    become_host();
    if !has_legacy() {
        return;
    }
    let rules: String = (0..3000)
        .map(|n| {
            format!(
                "-A FORWARD -s 10.{}.{}.1 -j ACCEPT\n",
                n / 250 + 1,
                n % 250 + 1
            )
        })
        .collect();
    run(&format!(
        "iptables-legacy-restore <<'RULES'\n*filter\n:FORWARD DROP\n{rules}COMMIT\nRULES"
    ));
    assert_eq!(told().len(), 1);
}
