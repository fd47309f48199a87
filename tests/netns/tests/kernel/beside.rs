//! Hosts whose other firewall drops what it does not know, as dockerd, ufw and firewalld set it up, with br_netfilter on.

use std::net::Ipv4Addr;

use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Lab, Network, Outside};

/// The chains that dockerd 20.10 lays, as far as they decide about forwarded packets.
const DOCKER: &str = "*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

/// ufw with its default of dropping routed packets: the policy, and chains of its own before it.
const UFW: &str = "*filter
:FORWARD DROP [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-reject-forward - [0:0]
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
COMMIT
";

/// firewalld's nftables backend: everything that no zone let through is rejected at the end of its forward chain.
const FIREWALLD: &str = "table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
        jump filter_FORWARD_POLICIES
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD_POLICIES { }
}
";

fn iptables(lab: &Lab, rules: &str) {
    for restore in ["iptables-nft-restore", "ip6tables-nft-restore"] {
        let rules = if restore.starts_with("ip6") {
            rules.replace("-p icmp -m icmp --icmp-type 8", "-p ipv6-icmp")
        } else {
            rules.to_owned()
        };
        let output = lab.try_exec(&[restore], &rules);
        assert!(output.succeeded(), "{restore}: {output}");
    }
}

fn nft(lab: &Lab, rules: &str) {
    let output = lab.try_exec(&["nft", "-f", "-"], rules);
    assert!(output.succeeded(), "nft: {output}");
}

fn network(lab: &Lab) -> Network<'_> {
    Network::new(lab, &ours(), lists::published())
}

/// The same containers, each with a link of its own to the host.
fn routed(lab: &Lab) -> Network<'_> {
    let mut list = lists::published();
    list["plugins"][0]["type"] = "ptp".into();
    Network::new(lab, &ours(), list)
}

/// On a bridge, then by links of their own.
fn everything_flows(lab: &Lab, outside: &Outside) {
    everything_flows_on(&network(lab), outside);
    everything_flows_on(&routed(lab), outside);
}

fn everything_flows_on(network: &Network<'_>, outside: &Outside) {
    let a = Pod::on(&network.with_runtime(ports(&[port("tcp", 8080, 80)])), "a");
    let b = Pod::on(network, "b");
    wharfline_netns_tests::everything_flows(outside, &a, &b);
    network.del(&a.attachment);
    network.del(&b.attachment);
}

fn lab_with_br_netfilter() -> (Lab, Outside) {
    let lab = Lab::new();
    for key in ["iptables", "ip6tables"] {
        lab.host()
            .set_sysctl(&format!("net/bridge/bridge-nf-call-{key}"), "1");
    }
    let outside = lab.outside();
    (lab, outside)
}

#[test]
fn everything_flows_beside_dockers_rules() {
    let (lab, outside) = lab_with_br_netfilter();
    iptables(&lab, DOCKER);
    everything_flows(&lab, &outside);
}

#[test]
fn everything_flows_beside_ufw() {
    let (lab, outside) = lab_with_br_netfilter();
    iptables(&lab, UFW);
    everything_flows(&lab, &outside);
}

#[test]
fn everything_flows_beside_firewalld() {
    let (lab, outside) = lab_with_br_netfilter();
    nft(&lab, FIREWALLD);
    everything_flows(&lab, &outside);
}

#[test]
fn what_the_other_firewall_drops_elsewhere_it_still_drops() {
    let (lab, outside) = lab_with_br_netfilter();
    iptables(&lab, DOCKER);
    let network = network(&lab);
    let _pod = Pod::on(&network, "pod");
    // A second uplink that has nothing to do with us: the host must not become a router for it.
    let other = lab.namespace("other");
    lab.host().ip("link add lan0 type veth peer name eth0 netns other\naddr add 203.0.113.1/24 dev lan0\nlink set lan0 up");
    other.ip(
        "addr add 203.0.113.2/24 dev eth0\nlink set eth0 up\nroute add default via 203.0.113.1",
    );
    outside.learns_route_to("203.0.113.0/24");
    let _far = outside.serves(tcp(Outside::FAR_V4, 80));
    // The link itself works, so what follows fails for the firewall's sake.
    let near = Ipv4Addr::new(203, 0, 113, 1);
    let _near = lab.host().serves(tcp(near, 7000));
    other.reaches(tcp(near, 7000)).from("host");
    other.does_not_reach(tcp(Outside::FAR_V4, 80));
}

#[test]
fn a_reloaded_firewall_loses_nothing_past_the_next_call() {
    let (lab, outside) = lab_with_br_netfilter();
    iptables(&lab, DOCKER);
    let network = network(&lab);
    let a = Pod::on(&network.with_runtime(ports(&[port("tcp", 8080, 80)])), "a");
    let _web = a.serves(tcp(a.v4(), 80));
    outside.reaches(tcp(Outside::HOST_V4, 8080)).from("a");
    // The restore without --noflush empties the table first, as `systemctl restart docker` or `ufw reload` do.
    iptables(&lab, DOCKER);
    let _b = Pod::on(&network, "b");
    outside.reaches(tcp(Outside::HOST_V4, 8080)).from("a");
}

#[test]
fn a_firewall_that_came_after_us_is_joined_at_the_next_call() {
    for make in [network, routed] {
        let (lab, outside) = lab_with_br_netfilter();
        let network = make(&lab);
        let a = Pod::on(&network.with_runtime(ports(&[port("tcp", 8080, 80)])), "a");
        let _web = a.serves(tcp(a.v4(), 80));
        iptables(&lab, DOCKER);
        let _b = Pod::on(&network, "b");
        outside.reaches(tcp(Outside::HOST_V4, 8080)).from("a");
    }
}

#[test]
fn the_warm_world_beside_docker_returns_after_add_and_del() {
    let (lab, _outside) = lab_with_br_netfilter();
    iptables(&lab, DOCKER);
    let network = network(&lab).with_runtime(ports(&[port("tcp", 8080, 80)]));
    warm_up(&lab, &network);
    let warm = lab.world();
    let pod = Pod::on(&network, "pod");
    network.del(&pod.attachment);
    drop(pod);
    warm.returns("the warm world beside docker", || lab.world());
}
