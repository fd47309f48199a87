//! The real dockerd with our driver for networks on a parent, where not every kernel has the links: ipvlan, and VLANs as
//! parents. What needs neither is in `clients`.
//!
//! One host for each case: in an emulated machine dockerd takes twenty seconds to start, and a container ten.

use std::net::IpAddr;
use std::time::Duration;

use wharfline_netns_tests::docker_host::{DockerHost, PLUGINS, page, serves_to};
use wharfline_netns_tests::machine::IMAGE;
use wharfline_testkit::{Feature, World, wait_for};

use super::Case;

/// The cases.
pub(super) const CASES: [Case; 2] = [
    Case {
        name: "dockerd::ipvlan_networks_of_every_mode",
        needs: &[Feature::IpvlanLink],
        run: ipvlan_networks_of_every_mode,
    },
    Case {
        name: "dockerd::vlan_parents_come_and_go_with_their_networks",
        needs: &[Feature::VlanLink, Feature::IpvlanLink],
        run: vlan_parents_come_and_go_with_their_networks,
    },
];

/// Subnets of both families on the host's uplink, with its router.
const LAN: [&str; 7] = [
    "--subnet=198.18.0.0/24",
    "--gateway=198.18.0.2",
    "--ip-range=198.18.0.96/27",
    "--ipv6",
    "--subnet=2001:db8:18::/64",
    "--gateway=2001:db8:18::2",
    "--aux-address=printer=198.18.0.97",
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn has_link(host: &DockerHost, name: &str) -> bool {
    let show = ["ip", "link", "show", "dev", name];
    host.machine.lab.host().try_exec(&show, "").succeeded()
}

/// What `docker network create` says of options that are refused.
#[track_caller]
fn refuses(host: &DockerHost, options: &[&str], words: &[&str]) {
    let create = ["network", "create", "-d", "wharf-macvlan"];
    let given: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
    let told = host.fails(&[&create[..], &given, &["bad"]].concat());
    for word in words {
        assert!(told.contains(word), "{word} in {told}");
    }
}

/// An address that somebody on the segment has is refused with his MAC.
#[track_caller]
fn refuses_a_taken_address(host: &DockerHost, network: &str, address: &str) {
    let run = ["run", "-d", "--rm", "--network", network, "--ip", address];
    let told = host.fails(&[&run[..], &[IMAGE]].concat());
    let expected = format!("{address} is in use on the segment by 02:00:00:00:00:02");
    assert!(told.contains(&expected), "{told}");
}

/// The world without Docker's own chains, which it orders anew whenever it starts.
fn ours(host: &DockerHost) -> World {
    host.world()
        .without("host nft ip filter chain FORWARD rule")
}

fn ipvlan_networks_of_every_mode() {
    let host = DockerHost::boot();
    let before = ours(&host);
    at_layer_2(&host);
    at_layer_3(&host);
    before.returns("the host is as before", || ours(&host));
}

/// Two networks on one parent, whose containers are on the segment with the parent's MAC.
fn at_layer_2(host: &DockerHost) {
    let mode = ["-o", "parent=uplink0", "-o", "ipvlan_mode=l2"];
    host.on_parent("lan", &[&LAN[..], &mode].concat());
    host.on_parent("other", &[&["--subnet=10.79.0.0/24"], &mode[..]].concat());
    host.outside
        .ip("addr add 10.79.0.1/24 dev eth0\naddr add 198.18.0.110/24 dev eth0");
    host.misremembers("198.18.0.96");
    host.run("web", "lan", &["--ip6", "2001:db8:18::100"]);
    host.run("client", "other", &[]);
    // In the range, and not the aux address.
    assert_eq!(host.v4("web", "lan"), "198.18.0.96");
    wait_for("a neighbour to be told", Duration::from_secs(10), || {
        let remembered = host.remembered("198.18.0.96");
        let is_parents = remembered == "02:00:00:00:00:01";
        is_parents.then_some(()).ok_or(remembered)
    });
    for address in ["198.18.0.96", "2001:db8:18::100", "10.79.0.2"] {
        serves_to(&host.outside, ip(address));
    }
    host.docker(&["network", "connect", "lan", "client"]);
    host.reaches("client", &page("198.18.0.96"));
    what_cannot_be_beside_layer_2(host);
    for network in ["lan", "other"] {
        host.docker(&["network", "disconnect", network, "client"]);
    }
    host.docker(&["rm", "-f", "web"]);
    host.docker(&["network", "rm", "lan", "other"]);
}

fn what_cannot_be_beside_layer_2(host: &DockerHost) {
    refuses_a_taken_address(host, "lan", "198.18.0.110");
    let on_uplink = |option| ["parent=uplink0", option];
    refuses(host, &on_uplink("ipvlan_mode=l3"), &["uplink0", "l2", "l3"]);
    let reach = ["parent=uplink0", "ipvlan_mode=l2", "ipvlan_flag=private"];
    refuses(host, &reach, &["uplink0", "flag bridge", "flag private"]);
    refuses(
        host,
        &on_uplink("macvlan_mode=bridge"),
        &["uplink0", "ipvlan"],
    );
    let shim = ["parent=uplink0", "ipvlan_mode=l2", "host_access=true"];
    refuses(host, &shim, &["host_access"]);
    let missing = ["parent=uplink9", "ipvlan_mode=l2"];
    refuses(host, &missing, &["uplink9 does not exist"]);
    refuses(host, &on_uplink("ipvlan_mode=l4"), &["ipvlan_mode", "l4"]);
}

/// The parent routes: its neighbours know the way by a route, and the containers' default route is the link.
fn at_layer_3(host: &DockerHost) {
    for (mode, net) in [("l3", "10.80.3"), ("l3s", "10.80.4")] {
        let [subnet, option] = [
            format!("--subnet={net}.0/24"),
            format!("ipvlan_mode={mode}"),
        ];
        host.on_parent(mode, &[&subnet, "-o", "parent=uplink0", "-o", &option]);
        host.outside.learns_route_to(&format!("{net}.0/24"));
        host.run("web", mode, &[]);
        host.docker(&["network", "connect", mode, "client"]);
        let web = host.v4("web", mode);
        serves_to(&host.outside, ip(&web));
        host.reaches("client", &page(&web));
        let routes = host.docker(&["exec", "web", "busybox", "ip", "route"]);
        assert!(routes.contains("default dev eth0"), "{mode}: {routes}");
        host.docker(&["network", "disconnect", mode, "client"]);
        host.remove(&["web"], mode);
    }
    let asking = ["parent=uplink0", "ipvlan_mode=l3", "probe_addresses=true"];
    refuses(host, &asking, &["probe_addresses"]);
    host.docker(&["rm", "-f", "client"]);
}

/// Tagged feet of whoever is outside, and one VLAN that the host has itself.
fn tag_the_uplink(host: &DockerHost) {
    for vlan in [10, 20, 30] {
        host.outside.ip(&format!(
            "link add link eth0 name eth0.{vlan} type vlan id {vlan}
             addr add 10.80.{vlan}.1/24 dev eth0.{vlan}
             addr add 10.80.{vlan}.110/24 dev eth0.{vlan}
             link set eth0.{vlan} up"
        ));
    }
    host.outside.ip("addr add 10.81.10.1/24 dev eth0.10");
    host.machine
        .lab
        .host()
        .ip("link add link uplink0 name uplink0.20 type vlan id 20
         addr add 10.80.20.10/24 dev uplink0.20
         link set uplink0.20 up");
}

/// A network on a VLAN of the uplink, in a subnet `net`.0/24 whose gateway is the first address.
fn on_vlan(host: &DockerHost, name: &str, (vlan, net): (u8, &str), option: &str) {
    let subnet = format!("--subnet={net}.0/24");
    let gateway = format!("--gateway={net}.1");
    let range = format!("--ip-range={net}.64/27");
    let parent = format!("parent=uplink0.{vlan}");
    let words = [&subnet, &gateway, &range, "-o", &parent, "-o", option];
    host.on_parent(name, &words);
}

/// Plugins and dockerd end and start again; containers run on.
fn restart(host: &mut DockerHost) {
    host.machine.signal("TERM", &["dockerd"]);
    host.kill(&PLUGINS);
    host.docker_is_gone();
    host.start_plugins();
    host.start_dockerd();
}

fn vlan_parents_come_and_go_with_their_networks() {
    let mut host = DockerHost::with(&["--live-restore"]);
    tag_the_uplink(&host);
    let before = ours(&host);
    on_vlan(&host, "ten", (10, "10.80.10"), "macvlan_mode=bridge");
    on_vlan(&host, "second", (10, "10.81.10"), "probe_addresses=false");
    on_vlan(&host, "own", (20, "10.80.20"), "host_access=true");
    on_vlan(&host, "flat", (30, "10.80.30"), "ipvlan_mode=l2");
    let containers = [("web", "ten"), ("inner", "own"), ("thin", "flat")];
    for (name, network) in containers {
        host.run(name, network, &[]);
    }
    everything_answers(&host);
    let started = host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);
    vlans_are_refused_by_name(&host);

    restart(&mut host);
    everything_answers(&host);
    let since = host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);
    assert_eq!(since, started, "it ran on");
    host.run("late", "second", &[]);
    serves_to(&host.outside, ip("10.81.10.64"));
    host.docker(&["network", "connect", "ten", "late"]);
    host.reaches("late", &page("10.80.10.64"));

    host.docker(&["rm", "-f", "web", "inner", "thin", "late"]);
    host.docker(&["network", "rm", "own", "flat", "second"]);
    assert!(
        !has_link(&host, "uplink0.30"),
        "it goes with its last network"
    );
    assert!(has_link(&host, "uplink0.20"), "it was there before");
    assert!(has_link(&host, "uplink0.10"), "a network stands on it");
    host.docker(&["network", "rm", "ten"]);
    assert!(!has_link(&host, "uplink0.10"), "nobody stands on it");
    before.returns("the host is as before", || ours(&host));
}

#[track_caller]
fn everything_answers(host: &DockerHost) {
    for address in ["10.80.10.64", "10.80.20.64", "10.80.30.64"] {
        serves_to(&host.outside, ip(address));
    }
    // host_access, over the host's own VLAN.
    serves_to(host.machine.lab.host(), ip("10.80.20.64"));
}

#[track_caller]
fn vlans_are_refused_by_name(host: &DockerHost) {
    refuses_a_taken_address(host, "ten", "10.80.10.110");
    let over = ["parent=uplink0.4095"];
    refuses(host, &over, &["uplink0.4095 does not exist"]);
    refuses(host, &["parent=uplink9.10"], &["uplink9 does not exist"]);
    let other_kind = ["parent=uplink0.10", "ipvlan_mode=l2"];
    refuses(host, &other_kind, &["uplink0.10", "macvlan"]);
    let exclusive = ["parent=uplink0.10", "macvlan_mode=passthru"];
    refuses(host, &exclusive, &["uplink0.10", "passthru"]);
}
