//! Containers on a segment by macvlan (features M1, M3 to M5); what this kernel lacks is in `kernel-features`.

use std::time::Duration;

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{list, with};
use wharfline_netns_tests::{Pod, Segment, conformance, lasting, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Namespace, Network, Plugins, Verb, wait_for};

/// A network on the segment, with `keys` put over the usual ones.
fn network<'lab>(lab: &'lab Lab, plugins: &Plugins, keys: Value) -> Network<'lab> {
    let plugin = with(&Segment::plugin("macvlan"), &keys);
    Network::new(lab, plugins, list("net", json!([plugin])))
}

fn link(namespace: &Namespace, name: &str) -> Value {
    let shown = namespace.exec(&["ip", "-j", "-d", "addr", "show", "dev", name]);
    serde_json::from_str::<Value>(&shown).expect("JSON from ip")[0].clone()
}

/// The code and text of a refused ADD, after which the world must be what it was.
fn refusal(network: &Network<'_>) -> (Value, String) {
    refusal_in(network, &[])
}

/// The same in a container where these parameters are 1.
fn refusal_in(network: &Network<'_>, parameters: &[&str]) -> (Value, String) {
    let lab = network.lab();
    let before = lasting(lab.world());
    let pod = lab.namespace("refused");
    for parameter in parameters {
        pod.set_sysctl(parameter, "1");
    }
    let outcome = network
        .call(Verb::Add, 0, &Attachment::of(&pod), None)
        .make(lab);
    let text = outcome.failed();
    let inside = pod.exec(&["ip", "-o", "link", "show"]);
    assert_eq!(inside.lines().count(), 1, "left in the container: {inside}");
    drop(pod);
    before.returns("the world before a refused ADD", || lasting(lab.world()));
    (outcome.error()["code"].clone(), text)
}

conformance! {
    fn the_result_lists_the_one_interface(plugins) {
        let lab = Lab::new();
        let _segment = Segment::around(&lab);
        let network = network(&lab, plugins, json!({"mtu": 1400}));
        let pod = Pod::on(&network, "pod");
        let interfaces = pod.result["interfaces"].as_array().expect("interfaces");
        assert_eq!(interfaces.len(), 1, "{}", pod.result);
        let found = link(&pod, "eth0");
        assert_eq!(interfaces[0]["name"], "eth0");
        assert_eq!(interfaces[0]["mac"], found["address"]);
        assert_eq!(interfaces[0]["sandbox"], pod.path());
        assert_eq!(pod.result["ips"][0]["interface"], 0);
        assert_eq!(found["linkinfo"]["info_kind"], "macvlan");
        assert_eq!(found["linkinfo"]["info_data"]["mode"], "bridge");
        assert_eq!(found["mtu"], 1400);
        assert_eq!(pod.sysctl("net/ipv4/conf/eth0/arp_notify").as_deref(), Some("1"));
        network.check(&pod.attachment).expect("CHECK");
    }

    fn containers_reach_each_other_the_router_and_other_hosts(plugins) {
        let lab = Lab::new();
        let segment = Segment::around(&lab);
        let far = segment.host(&lab, "far", "02:00:00:00:00:20", &["192.0.2.20/24", "2001:db8:2::20/64"]);
        let network = network(&lab, plugins, json!({}));
        let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
        let _servers = [segment.serves(tcp(Segment::ROUTER_V4, 80)), segment.serves(tcp(Segment::ROUTER_V6, 80))];
        for address in [b.v4(), b.v6()] {
            let _server = b.serves(tcp(address, 80));
            a.reaches(tcp(address, 80)).from("b");
            far.reaches(tcp(address, 80)).from("b").seen_as(match address.is_ipv4() {
                true => "192.0.2.20".parse::<std::net::IpAddr>().expect("address"),
                false => "2001:db8:2::20".parse().expect("address"),
            });
            lab.host().does_not_reach(tcp(address, 80));
        }
        a.reaches(tcp(Segment::ROUTER_V4, 80)).from("segment").seen_as(a.v4());
        a.reaches(tcp(Segment::ROUTER_V6, 80)).from("segment").seen_as(a.v6());
    }

    fn the_warm_world_returns(plugins) {
        let lab = Lab::new();
        let _segment = Segment::around(&lab);
        let network = network(&lab, plugins, json!({}));
        warm_up(&lab, &network);
        let warm = lab.world();
        let pod = Pod::on(&network, "pod");
        network.del(&pod.attachment);
        assert_eq!(pod.exec(&["ip", "-o", "link", "show"]).lines().count(), 1, "the link is still there");
        network.del(&pod.attachment);
        let gone = Pod::on(&network, "gone");
        network.del(&gone.attachment.without_netns());
        drop((pod, gone));
        warm.returns("the warm world", || lab.world());
    }

    fn private_containers_reach_the_router_and_not_each_other(plugins) {
        let lab = Lab::new();
        let segment = Segment::around(&lab);
        let network = network(&lab, plugins, json!({"mode": "private"}));
        let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
        let _servers = [segment.serves(tcp(Segment::ROUTER_V4, 80)), b.serves(tcp(b.v4(), 80))];
        a.reaches(tcp(Segment::ROUTER_V4, 80)).from("segment");
        a.does_not_reach(tcp(b.v4(), 80));
        segment.reaches(tcp(b.v4(), 80)).from("b");
    }

    fn vepa_containers_reach_each_other_by_a_switch_that_sends_back(plugins) {
        let lab = Lab::new();
        let segment = Segment::around(&lab);
        let network = network(&lab, plugins, json!({"mode": "vepa"}));
        let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
        let _server = b.serves(tcp(b.v4(), 80));
        a.does_not_reach(tcp(b.v4(), 80));
        segment.exec(&["bridge", "link", "set", "dev", "p020000000010", "hairpin", "on"]);
        a.reaches(tcp(b.v4(), 80)).from("b");
    }

    fn the_default_routes_link_is_the_parent_unless_said(plugins) {
        let lab = Lab::new();
        let segment = Segment::around(&lab);
        let network = network(&lab, plugins, json!({"master": ""}));
        let pod = Pod::on(&network, "pod");
        let _server = pod.serves(tcp(pod.v4(), 80));
        segment.reaches(tcp(pod.v4(), 80)).from("pod");
    }

    fn a_layer_2_network_has_an_interface_and_no_address(plugins) {
        let lab = Lab::new();
        let _segment = Segment::around(&lab);
        let plugin = json!({"type": "macvlan", "master": Segment::LINK, "ipam": {}});
        let network = Network::new(&lab, plugins, list("net", json!([plugin])));
        let pod = Pod::on(&network, "pod");
        assert_eq!(pod.result["ips"].as_array().map_or(0, Vec::len), 0, "{}", pod.result);
        assert!(link(&pod, "eth0")["flags"].to_string().contains("\"UP\""));
    }
}

#[test]
fn the_parent_may_be_in_the_container() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let network = network(
        &lab,
        &ours(),
        json!({"linkInContainer": true, "master": "inner"}),
    );
    let pod = segment.host(&lab, "pod", "02:00:00:00:00:30", &[]);
    pod.ip("link set eth0 name inner");
    pod.ip("link set inner up");
    let attachment = Attachment::of(&pod);
    network.add(&attachment);
    assert_eq!(link(&pod, "eth0")["link"], "inner");
    network.check(&attachment).expect("CHECK");
    network.del(&attachment);
    assert_eq!(pod.exec(&["ip", "-o", "link", "show"]).lines().count(), 2);
}

#[test]
fn the_mac_is_the_one_that_was_asked_for() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let keys = json!({"mac": "02:00:00:00:0a:01", "capabilities": {"mac": true}});
    let network = network(&lab, &ours(), keys);
    assert_eq!(
        link(&Pod::on(&network, "a"), "eth0")["address"],
        "02:00:00:00:0a:01"
    );
    let by_args = network.with_args("MAC=02:00:00:00:0a:02");
    assert_eq!(
        link(&Pod::on(&by_args, "b"), "eth0")["address"],
        "02:00:00:00:0a:02"
    );
    let by_capability = by_args.with_runtime(json!({"mac": "02:00:00:00:0a:03"}));
    assert_eq!(
        link(&Pod::on(&by_capability, "c"), "eth0")["address"],
        "02:00:00:00:0a:03"
    );
}

#[test]
fn who_knew_the_address_elsewhere_hears_where_it_is_now() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    segment.ip("neigh replace 192.0.2.100 lladdr 02:00:00:00:de:ad dev br0 nud reachable");
    let network = network(&lab, &ours(), json!({}));
    let pod = Pod::on(&network, "pod");
    let ndisc = pod.sysctl("net/ipv6/conf/eth0/ndisc_notify");
    assert_eq!(ndisc.as_deref(), Some("1"));
    let mac = link(&pod, "eth0")["address"]
        .as_str()
        .expect("a MAC")
        .to_owned();
    wait_for("the router to have heard", Duration::from_secs(5), || {
        let known = segment.exec(&["ip", "neigh", "show", "192.0.2.100"]);
        if known.contains(&mac) {
            Ok(())
        } else {
            Err(known)
        }
    });
}

#[test]
fn passthru_has_its_parent_to_itself() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let alone = network(&lab, &ours(), json!({"mode": "passthru"}));
    let first = Pod::on(&alone, "first");
    alone.check(&first.attachment).expect("CHECK");
    assert_eq!(
        first.result["interfaces"][0]["mac"],
        link(&first, "eth0")["address"]
    );
    let plugin = Segment::plugin("macvlan");
    let other = Network::new(&lab, &ours(), list("other", json!([plugin])));
    for refused in [&other, &alone] {
        let (code, text) = refusal(refused);
        assert_eq!(code, 100, "{text}");
        assert!(
            text.contains("eth0 of container") && text.contains("on network net"),
            "{text}"
        );
        assert!(text.contains("passthru"), "{text}");
    }
    alone.del(&first.attachment);
    let shared = Pod::on(&other, "shared");
    let (code, text) = refusal(&alone);
    assert_eq!(code, 100, "{text}");
    assert!(text.contains("on network other"), "{text}");
    drop(shared);
}

#[test]
fn host_access_leads_both_ways_and_goes_with_the_last_container() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let network = network(&lab, &ours(), json!({"hostAccess": true}));
    warm_up(&lab, &network);
    let warm = lab.world();
    let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
    let host = lab.host();
    let _of_host = [
        host.serves(tcp(Segment::HOST_V4, 80)),
        host.serves(tcp(Segment::HOST_V6, 80)),
    ];
    for pod in [&a, &b] {
        let _servers = [pod.serves(tcp(pod.v4(), 80)), pod.serves(tcp(pod.v6(), 80))];
        host.reaches(tcp(pod.v4(), 80)).seen_as(Segment::HOST_V4);
        host.reaches(tcp(pod.v6(), 80)).seen_as(Segment::HOST_V6);
        pod.reaches(tcp(Segment::HOST_V4, 80)).seen_as(pod.v4());
        pod.reaches(tcp(Segment::HOST_V6, 80)).seen_as(pod.v6());
        segment.reaches(tcp(pod.v4(), 80));
        network.check(&pod.attachment).expect("CHECK");
    }
    host.ip(&format!("route del {}/32", a.v4()));
    let told = network
        .check(&a.attachment)
        .expect_err("a route is missing")
        .failed();
    assert!(told.contains(&a.v4().to_string()), "{told}");
    network.del(&a.attachment);
    let _server = b.serves(tcp(b.v4(), 80));
    host.reaches(tcp(b.v4(), 80)).from("b");
    network.del(&b.attachment);
    drop((a, b));
    warm.returns("the warm world", || lab.world());
}

#[test]
fn an_address_that_somebody_has_is_refused_with_his_mac() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let network = network(&lab, &ours(), json!({"probeAddresses": true}));
    let taken = [
        ("other4", "02:00:00:00:00:40", "192.0.2.100/24"),
        ("other6", "02:00:00:00:00:41", "2001:db8:2::100/64"),
    ];
    // Some runtimes' namespaces begin without IPv6.
    let without_ipv6 = [
        "net/ipv6/conf/all/disable_ipv6",
        "net/ipv6/conf/default/disable_ipv6",
    ];
    for (name, mac, address) in taken {
        let other = segment.host(&lab, name, mac, &[address]);
        let (code, text) = refusal_in(&network, &without_ipv6);
        let address = address.split('/').next().expect("an address");
        assert_eq!(code, 100, "{text}");
        assert!(text.contains(address) && text.contains(mac), "{text}");
        // The kernel takes its time to dissolve a namespace.
        other.ip("link set eth0 down");
        lab.exec(&["rm", "-rf", "/var/lib/cni/networks/net"]);
    }
    let pod = Pod::on(&network, "pod");
    let _server = pod.serves(tcp(pod.v4(), 80));
    segment.reaches(tcp(pod.v4(), 80)).from("pod");
}

#[test]
fn a_parent_in_trouble_is_named() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let plugin = Segment::plugin("macvlan");
    let current = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [plugin]});
    let network = Network::new(&lab, &ours(), current);
    let pod = Pod::on(&network, "pod");
    network.status(0).succeeded();
    let says = |what: &str| {
        let checked = network.check(&pod.attachment).expect_err(what).failed();
        let status = network.status(0).failed();
        for told in [&checked, &status] {
            assert!(told.contains("eth0") && told.contains(what), "{told}");
        }
    };
    lab.host().ip("link set eth0 down");
    says("is down");
    lab.host().ip("link set eth0 name other0");
    says("does not exist");
    // Into a container, and out of it again.
    let thief = lab.namespace("thief");
    lab.host()
        .ip("link set other0 name eth0\nlink set eth0 netns thief");
    says("does not exist");
    drop(thief);
    says("does not exist");
    network.del(&pod.attachment);
}

#[test]
fn what_makes_no_sense_is_refused_by_its_key() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let cases = [
        (json!({"master": "nosuch0"}), 7, "master"),
        (json!({"master": "much/too/strange"}), 7, "master"),
        (json!({"mode": "bridged"}), 7, "mode"),
        (json!({"mode": 4}), 7, "mode"),
        (json!({"mtu": 9000}), 7, "mtu"),
        (json!({"mtu": 20}), 7, "mtu"),
        (json!({"mac": "01:00:5e:00:00:01"}), 7, "mac"),
        (
            json!({"mac": "02:00:00:00:00:01", "mode": "passthru"}),
            7,
            "mac",
        ),
        (json!({"bcqueuelen": -1}), 7, "bcqueuelen"),
        (json!({"linkInContainer": "yes"}), 7, "linkInContainer"),
        (json!({"linkInContainer": true, "master": ""}), 7, "master"),
        (json!({"hostAccess": true, "mode": "vepa"}), 7, "hostAccess"),
        (json!({"hostAccess": true, "ipam": {}}), 7, "hostAccess"),
        (
            json!({"probeAddresses": true, "ipam": {}}),
            7,
            "probeAddresses",
        ),
    ];
    for (keys, wanted, key) in cases {
        let (code, text) = refusal(&network(&lab, &ours(), keys.clone()));
        assert_eq!(code, wanted, "{keys}: {text}");
        assert!(text.contains(key), "{keys}: {text}");
    }
}

#[test]
fn gc_takes_what_no_runtime_knows_of_out_of_living_containers() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let plugin = with(&Segment::plugin("macvlan"), &json!({"hostAccess": true}));
    let current = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [plugin]});
    let network = Network::new(&lab, &ours(), current);
    let [kept, stale] = ["kept", "stale"].map(|name| Pod::on(&network, name));
    network.gc(&[&kept.attachment]);
    assert_eq!(stale.exec(&["ip", "-o", "link", "show"]).lines().count(), 1);
    network.check(&kept.attachment).expect("the other is whole");
}

#[test]
fn a_del_by_a_path_that_is_another_containers_by_now_leaves_that_one_alone() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let network = network(&lab, &ours(), json!({}));
    let [first, second] = ["first", "second"].map(|name| Pod::on(&network, name));
    let mut mistaken = network.call(Verb::Del, 0, &first.attachment, Some(&first.result));
    mistaken = mistaken.env("CNI_NETNS", second.path());
    mistaken.make(&lab).ok();
    network
        .check(&second.attachment)
        .expect("the other is whole");
    assert_eq!(first.exec(&["ip", "-o", "link", "show"]).lines().count(), 1);
}
