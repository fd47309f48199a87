//! Our one rule in forward chains of others: where it stands, who can still read it, and that it goes away.

use wharfline_kernel::nft::{Nft, Search};

use crate::lab::{become_host, run, try_run};

const OURS: &str = "-A FORWARD -m mark --mark 0x1000/0x1000 -m comment \
                    --comment \"wharfline: forwarded for containers\" -j ACCEPT";

fn let_through(search: Search) -> Vec<String> {
    let mut nft = Nft::open().expect("a socket");
    let chains = nft.let_through(search).expect("let through");
    chains.iter().map(ToString::to_string).collect()
}

#[test]
fn iptables_reads_saves_checks_and_restores_a_table_with_our_rule() {
    become_host();
    for iptables in ["iptables", "ip6tables"] {
        run(&format!("{iptables} -P FORWARD DROP"));
    }
    assert_eq!(
        let_through(Search::Known),
        ["ip filter FORWARD", "ip6 filter FORWARD"]
    );
    for iptables in ["iptables", "ip6tables"] {
        assert!(run(&format!("{iptables} -S FORWARD")).contains(OURS));
        assert!(run(&format!("{iptables}-save")).contains(OURS));
        run(&format!("{iptables} -L FORWARD -v -n"));
        run(&format!("{iptables} -C {}", OURS.trim_start_matches("-A ")));
        run(&format!(
            "{iptables} -A FORWARD -s lo -j ACCEPT || {iptables} -A FORWARD -j ACCEPT"
        ));
        run(&format!("{iptables}-save | {iptables}-restore"));
    }
    // What iptables-restore wrote again keeps its comment in another place: it is not doubled in effect, only laid again.
    assert_eq!(let_through(Search::Known).len(), 2);
}

#[test]
fn the_rule_follows_docker_user_and_is_laid_once() {
    become_host();
    run(
        "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -N DOCKER-ISOLATION-STAGE-1
         iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1",
    );
    for _ in 0..2 {
        assert_eq!(let_through(Search::Known), ["ip filter FORWARD"]);
    }
    let rules = run("iptables -S FORWARD");
    let lines: Vec<_> = rules.lines().collect();
    assert_eq!(
        lines,
        [
            "-P FORWARD DROP",
            "-A FORWARD -j DOCKER-USER",
            OURS,
            "-A FORWARD -j DOCKER-ISOLATION-STAGE-1"
        ]
    );
    run("iptables -F FORWARD");
    assert_eq!(let_through(Search::Known), ["ip filter FORWARD"]);
    assert!(
        run("iptables -S FORWARD").contains(OURS),
        "laid again when lost"
    );
}

#[test]
fn chains_that_let_everything_pass_are_left_alone() {
    become_host();
    run("iptables -A FORWARD -s 192.0.2.0/24 -j DROP
         nft 'add table inet filter;
              add chain inet filter forward { type filter hook forward priority 0; };
              add chain inet filter input { type filter hook input priority 0; policy drop; };
              add rule inet filter forward ct state invalid drop'");
    let before = run("nft list ruleset 2>/dev/null");
    assert!(let_through(Search::All).is_empty());
    assert_eq!(run("nft list ruleset 2>/dev/null"), before);
}

#[test]
fn firewalls_as_ufw_firewalld_and_rhel_lay_them_are_recognised() {
    become_host();
    run("iptables -P FORWARD DROP
         for chain in ufw-before-logging-forward ufw-before-forward ufw-after-forward; do
           iptables -N $chain; iptables -A FORWARD -j $chain
         done
         ip6tables -A FORWARD -j REJECT --reject-with icmp6-adm-prohibited
         nft 'add table inet firewalld;
              add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; };
              add rule inet firewalld filter_FORWARD ct state established accept;
              add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited;
              add table inet custom;
              add chain inet custom guard { type filter hook forward priority 5; };
              add rule inet custom guard counter drop'");
    let mut known = let_through(Search::Known);
    known.sort();
    assert_eq!(
        known,
        [
            "inet firewalld filter_FORWARD",
            "ip filter FORWARD",
            "ip6 filter FORWARD"
        ]
    );
    let mut nft = Nft::open().expect("a socket");
    let barriers = nft.barriers(Search::All).expect("asked");
    assert_eq!(barriers.len(), 1);
    assert_eq!(barriers[0].to_string(), "inet custom guard");
    assert_eq!(let_through(Search::All).len(), 4);
    assert_eq!(nft.barriers(Search::All), Ok(vec![]));
    assert_eq!(
        run("nft list ruleset 2>/dev/null")
            .matches("wharfline: forwarded")
            .count(),
        4
    );
    nft.withdraw().expect("withdrawn");
    nft.withdraw().expect("again");
    assert_eq!(
        run("nft list ruleset 2>/dev/null")
            .matches("wharfline")
            .count(),
        0
    );
    assert!(
        try_run("iptables -S FORWARD | grep -q ufw-before-forward")
            .status
            .success()
    );
}
