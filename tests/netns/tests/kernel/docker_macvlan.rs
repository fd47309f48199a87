//! Docker's driver for networks on a parent, call by call: the tests do with its links what dockerd does.
//! What this kernel lacks (ipvlan, VLANs) is in `kernel-features`; the real dockerd is in `clients`.

use serde_json::{Value, json};
use wharfline_netns_tests::docker::{Container, Server, endpoint, of};
use wharfline_netns_tests::{Segment, lasting};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Lab, World};

const CREATE: &str = "/NetworkDriver.CreateNetwork";
const DELETE: &str = "/NetworkDriver.DeleteNetwork";
const ATTACH: &str = "/NetworkDriver.CreateEndpoint";
const DETACH: &str = "/NetworkDriver.DeleteEndpoint";

/// The body of a CreateNetwork on the segment, of both families.
fn network(id: &str, options: Value) -> Value {
    json!({"NetworkID": id, "Options": {"com.docker.network.generic": options},
        "IPv4Data": [{"AddressSpace": "s", "Pool": "192.0.2.0/24", "Gateway": "192.0.2.1/24"}],
        "IPv6Data": [{"AddressSpace": "s", "Pool": "2001:db8:2::/64", "Gateway": "2001:db8:2::1/64"}]})
}

fn on_segment(id: &str) -> Value {
    network(
        id,
        json!({"parent": Segment::LINK, "probe_addresses": "false"}),
    )
}

/// What must be as it was: the host's links and all that is ours.
fn world(lab: &Lab) -> World {
    let files = ["host ", "file /run/wharfline/", "file /var/lib/wharfline/"];
    lasting(lab.world().only(&files)).without_empty("file /var/lib/wharfline/")
}

#[test]
fn containers_are_on_the_segment_and_nothing_is_left() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    server.call(CREATE, &on_segment("warm"));
    server.call(DELETE, &of("warm", "-"));
    let before = world(&lab);
    server.call(CREATE, &on_segment("n1"));
    let [a, b] = [("a", 100), ("b", 101)].map(|(id, n)| Container::run(&lab, &server, "n1", id, n));
    for address in [b.v4, b.v6] {
        let _server = b.namespace.serves(tcp(address, 80));
        a.namespace.reaches(tcp(address, 80)).from("b");
        segment.reaches(tcp(address, 80)).from("b");
        lab.host().does_not_reach(tcp(address, 80));
    }
    let _router = segment.serves(tcp(Segment::ROUTER_V4, 80));
    a.namespace
        .reaches(tcp(Segment::ROUTER_V4, 80))
        .from("segment");
    a.stop(&lab, &server);
    b.stop(&lab, &server);
    server.call(DELETE, &of("n1", "-"));
    before.returns("the host before", || world(&lab));
}

#[test]
fn without_a_parent_containers_reach_each_other_and_nothing_else() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    let before = world(&lab);
    server.call(CREATE, &network("n1", json!({})));
    let [a, b] = [("a", 100), ("b", 101)].map(|(id, n)| Container::run(&lab, &server, "n1", id, n));
    let _servers = [
        b.namespace.serves(tcp(b.v4, 80)),
        segment.serves(tcp(Segment::ROUTER_V4, 80)),
    ];
    a.namespace.reaches(tcp(b.v4, 80)).from("b");
    a.namespace.does_not_reach(tcp(Segment::ROUTER_V4, 80));
    lab.host().does_not_reach(tcp(b.v4, 80));
    let routes = a.namespace.exec(&["ip", "route"]);
    assert!(!routes.contains("default"), "{routes}");
    a.stop(&lab, &server);
    b.stop(&lab, &server);
    let world_of_network = world(&lab);
    assert!(
        world_of_network.objects("host link wi").next().is_some(),
        "the parent stays with its network"
    );
    server.call(DELETE, &of("n1", "-"));
    before.returns("the host before", || world(&lab));
}

#[test]
fn an_address_that_somebody_has_is_refused_with_his_mac() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let _far = segment.host(
        &lab,
        "far",
        "02:00:00:00:00:40",
        &["192.0.2.100/24", "2001:db8:2::101/64"],
    );
    let server = Server::start(&lab, "macvlan");
    server.call(CREATE, &network("n1", json!({"parent": Segment::LINK})));
    let before = world(&lab);
    for (v4, v6) in [
        ("192.0.2.100/24", ""),
        ("192.0.2.101/24", "2001:db8:2::101/64"),
    ] {
        let mut body = endpoint("n1", "a", v4);
        body["Interface"]["AddressIPv6"] = json!(v6);
        let told = server.refused(ATTACH, &body);
        assert!(
            told.contains("in use on the segment by 02:00:00:00:00:40"),
            "{told}"
        );
        before.returns("the host before", || world(&lab));
    }
    let free = Container::run(&lab, &server, "n1", "b", 102);
    free.stop(&lab, &server);
    server.call(CREATE, &on_segment("n2"));
    server.call(ATTACH, &endpoint("n2", "c", "192.0.2.100/24"));
}

#[test]
fn with_host_access_host_and_containers_reach_each_other() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    let before = world(&lab);
    let options = json!({"parent": Segment::LINK, "host_access": "true"});
    server.call(CREATE, &network("n1", options));
    let pod = Container::run(&lab, &server, "n1", "a", 100);
    for (own, host) in [(pod.v4, Segment::HOST_V4), (pod.v6, Segment::HOST_V6)] {
        let _servers = [
            pod.namespace.serves(tcp(own, 80)),
            lab.host().serves(tcp(host, 81)),
        ];
        lab.host().reaches(tcp(own, 80)).from("a").seen_as(host);
        pod.namespace
            .reaches(tcp(host, 81))
            .from("host")
            .seen_as(own);
    }
    pod.stop(&lab, &server);
    server.call(DELETE, &of("n1", "-"));
    before.returns("the host before", || world(&lab));
}

#[test]
fn containers_of_two_hosts_are_on_one_segment() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let own = ["192.0.2.20/24", "2001:db8:2::20/64"];
    let other = segment.host(&lab, "other", "02:00:00:00:00:20", &own);
    let hosts = [(&lab, lab.host()), (&lab, &other)];
    let servers = hosts.map(|host| Server::start_on(host, "macvlan", &[]));
    let options = json!({"parent": Segment::LINK, "host_access": "true"});
    for (server, id) in servers.iter().zip(["n1", "n2"]) {
        server.call(CREATE, &network(id, options.clone()));
    }
    let a = Container::run_on(hosts[0], &servers[0], "n1", "a", 100);
    let b = Container::run_on(hosts[1], &servers[1], "n2", "b", 101);
    for (from, to, name) in [(&a, &b, "b"), (&b, &a, "a")] {
        for address in [to.v4, to.v6] {
            let _server = to.namespace.serves(tcp(address, 80));
            from.namespace.reaches(tcp(address, 80)).from(name);
            lab.host().reaches(tcp(address, 80)).from(name);
            other.reaches(tcp(address, 80)).from(name);
        }
    }
    // What one host has given out the other finds on the segment, with the MAC that the address implies.
    let told = servers[1].refused(ATTACH, &endpoint("n2", "thief", "192.0.2.100/24"));
    assert!(
        told.contains("in use on the segment by 0a:58:c0:00:02:64"),
        "{told}"
    );
    a.stop_on(lab.host(), &servers[0]);
    b.stop_on(&other, &servers[1]);
}

#[test]
fn a_killed_server_knows_its_networks_again_and_evicts_who_died_meanwhile() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    let before = world(&lab);
    server.call(CREATE, &on_segment("n1"));
    let lives = Container::run(&lab, &server, "n1", "lives", 100);
    let dies = Container::run(&lab, &server, "n1", "dies", 101);
    server.kill();
    drop(dies);
    drop(server);
    let server = Server::start(&lab, "macvlan");
    server.call("/Plugin.Activate", &json!({}));
    let told = server.refused(ATTACH, &endpoint("n1", "thief", "192.0.2.100/24"));
    assert!(told.contains("lives"), "{told}");
    let next = Container::run(&lab, &server, "n1", "next", 101);
    let _server = lives.namespace.serves(tcp(lives.v4, 80));
    next.namespace.reaches(tcp(lives.v4, 80)).from("lives");
    segment.reaches(tcp(lives.v4, 80)).from("lives");
    next.stop(&lab, &server);
    lives.stop(&lab, &server);
    server.call(DELETE, &of("n1", "-"));
    before.returns("the host before", || world(&lab));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    let before = world(&lab);
    let refused = |id: &str, options: Value, word: &str| {
        let told = server.refused(CREATE, &network(id, options));
        assert!(told.contains(word), "{told}");
    };
    refused("n1", json!({"parent": "eth9"}), "eth9");
    refused("n1", json!({"parent": "eth9.10"}), "eth9");
    refused("n1", json!({"colour": "red"}), "option colour");
    refused(
        "n1",
        json!({"parent": "eth0", "com.docker.network.driver.mtu": "9000"}),
        "mtu",
    );
    before.returns("the host before", || world(&lab));
    server.call(CREATE, &on_segment("n1"));
    server.call(CREATE, &on_segment("n1"));
    server.call(CREATE, &on_segment("n2"));
    refused(
        "n3",
        json!({"parent": "eth0", "macvlan_mode": "passthru"}),
        "passthru",
    );
    let mut static_mac = endpoint("n1", "a", "192.0.2.100/24");
    static_mac["Interface"]["MacAddress"] = json!("02:00:00:00:00:77");
    let created = server.call(ATTACH, &static_mac);
    assert_eq!(created["Interface"]["MacAddress"], Value::Null, "{created}");
    let shown = lab.exec(&["ip", "-o", "link"]);
    assert!(shown.contains("02:00:00:00:00:77"), "{shown}");
    server.call(DETACH, &of("n1", "a"));
    for id in ["n1", "n2"] {
        server.call(DELETE, &of(id, "-"));
    }
    before.returns("the host before", || world(&lab));
}
