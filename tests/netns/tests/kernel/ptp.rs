//! Containers on a link to the host alone (the CNI type ptp): routed, with no bridge between.

use std::net::IpAddr;

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{dual_stack_ipam, host_local, list, port, portmap, ports, with};
use wharfline_netns_tests::{Pod, conformance, lasting, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Namespace, Network, Outside, Plugins, Verb};

fn plugin(keys: &Value) -> Value {
    with(&json!({"type": "ptp", "ipam": dual_stack_ipam()}), keys)
}

fn network<'lab>(lab: &'lab Lab, plugins: &Plugins, keys: Value) -> Network<'lab> {
    Network::new(lab, plugins, list("net", json!([plugin(&keys)])))
}

/// ptp and published ports, as most chains have it.
fn published<'lab>(lab: &'lab Lab, plugins: &Plugins) -> Network<'lab> {
    let plugins_of_list = json!([plugin(&json!({"ipMasq": true})), portmap()]);
    let runtime = ports(&[port("tcp", 8080, 80)]);
    Network::new(lab, plugins, list("net", plugins_of_list)).with_runtime(runtime)
}

fn shown(namespace: &Namespace, argv: &[&str]) -> Value {
    let command = [&["ip", "-j", "-d"], argv].concat();
    serde_json::from_str(&namespace.exec(&command)).expect("JSON from ip")
}

fn link(namespace: &Namespace, name: &str) -> Value {
    shown(namespace, &["addr", "show", "dev", name])[0].clone()
}

fn host_end(pod: &Pod) -> String {
    pod.result["interfaces"][0]["name"]
        .as_str()
        .expect("a host end")
        .to_owned()
}

/// Destination and gateway of each route, in order.
fn routes(namespace: &Namespace, argv: &[&str]) -> Vec<(String, String)> {
    let listed = shown(namespace, argv);
    let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let mut routes: Vec<_> = (listed.as_array().into_iter().flatten())
        .map(|route| (text(route, "dst"), text(route, "gateway")))
        .collect();
    routes.sort();
    routes
}

fn pair(to: &str, via: &str) -> (String, String) {
    (to.to_owned(), via.to_owned())
}

conformance! {
    fn the_result_lists_host_end_and_container_end(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"mtu": 1400}));
        let pod = Pod::on(&network, "pod");
        let interfaces = pod.result["interfaces"].as_array().expect("interfaces");
        assert_eq!(interfaces.len(), 2, "{}", pod.result);
        assert_eq!(interfaces[0]["mac"], link(lab.host(), &host_end(&pod))["address"]);
        assert_eq!(interfaces[1]["name"], "eth0");
        assert_eq!(interfaces[1]["mac"], link(&pod, "eth0")["address"]);
        assert_eq!(interfaces[1]["sandbox"], pod.path());
        assert_eq!(pod.result["ips"][0]["interface"], 1);
        assert_eq!(pod.result["ips"][0]["gateway"], "10.88.0.1");
        assert_eq!(link(&pod, "eth0")["mtu"], 1400);
        assert_eq!(link(lab.host(), &host_end(&pod))["mtu"], 1400);
        network.check(&pod.attachment).expect("CHECK");
    }

    fn host_and_container_have_routes_to_addresses_and_not_to_a_shared_subnet(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({}));
        let pod = Pod::on(&network, "pod");
        let end = host_end(&pod);
        let at_host = link(lab.host(), &end);
        let own: Vec<(&str, u64)> = at_host["addr_info"].as_array().expect("addresses").iter()
            .filter(|address| address["scope"] == "global")
            .map(|address| (address["local"].as_str().expect("text"), address["prefixlen"].as_u64().expect("number")))
            .collect();
        assert_eq!(own, [("10.88.0.1", 32), ("fd00:88::1", 128)], "{at_host}");
        assert_eq!(routes(lab.host(), &["route", "show", "dev", &end]), [pair(&pod.v4().to_string(), "")]);
        let inside = routes(&pod, &["route", "show", "dev", "eth0"]);
        assert_eq!(inside, [pair("10.88.0.0/24", "10.88.0.1"), pair("10.88.0.1", ""), pair("default", "10.88.0.1")]);
        let six = routes(&pod, &["-6", "route", "show", "dev", "eth0"]);
        for expected in [pair("default", "fd00:88::1"), pair("fd00:88::/64", "fd00:88::1"), pair("fd00:88::1", "")] {
            assert!(six.contains(&expected), "{six:?}");
        }
        assert_eq!(lab.host().sysctl("net/ipv4/ip_forward").as_deref(), Some("1"));
        assert_eq!(lab.host().sysctl("net/ipv6/conf/all/forwarding").as_deref(), Some("1"));
    }

    fn containers_and_host_reach_each_other_with_their_own_addresses(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"ipMasq": true}));
        let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
        for address in [b.v4(), b.v6()] {
            let _server = b.serves(tcp(address, 80));
            let own = if address.is_ipv4() { a.v4() } else { a.v6() };
            a.reaches(tcp(address, 80)).from("b").seen_as(own);
            lab.host().reaches(tcp(address, 80)).from("b");
        }
        for gateway in ["10.88.0.1", "fd00:88::1"] {
            let gateway: IpAddr = gateway.parse().expect("address");
            let _server = lab.host().serves(tcp(gateway, 81));
            a.reaches(tcp(gateway, 81)).from("host");
        }
    }

    fn what_leaves_is_masqueraded_where_that_is_asked_for(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        let network = network(&lab, plugins, json!({"ipMasq": true}));
        let pod = Pod::on(&network, "pod");
        let _servers = [outside.serves(tcp(Outside::V4, 80)), outside.serves(tcp(Outside::V6, 80))];
        pod.reaches(tcp(Outside::V4, 80)).from("outside").seen_as(Outside::HOST_V4);
        pod.reaches(tcp(Outside::V6, 80)).from("outside").seen_as(Outside::HOST_V6);
        network.del(&pod.attachment);
    }

    fn published_ports_lead_to_it_from_outside_and_from_its_neighbour(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        let network = published(&lab, plugins);
        let pod = Pod::on(&network, "pod");
        let _server = pod.serves(tcp(pod.v4(), 80));
        outside.reaches(tcp(Outside::HOST_V4, 8080)).from("pod");
        pod.reaches(tcp(Outside::HOST_V4, 8080)).from("pod");
        network.del(&pod.attachment);
    }

    fn the_warm_world_returns(plugins) {
        let lab = Lab::new();
        let _outside = lab.outside();
        let network = published(&lab, plugins);
        warm_up(&lab, &network);
        let warm = lab.world();
        let pod = Pod::on(&network, "pod");
        network.del(&pod.attachment);
        assert_eq!(pod.exec(&["ip", "-o", "link", "show"]).lines().count(), 1, "the link is still there");
        network.del(&pod.attachment);
        drop(pod);
        warm.returns("the warm world", || lab.world());
    }
}

#[test]
fn a_del_after_the_namespace_vanished_leaves_the_warm_world() {
    let lab = Lab::new();
    let network = published(&lab, &ours());
    warm_up(&lab, &network);
    let warm = lab.world();
    let gone = Pod::on(&network, "gone");
    let attachment = gone.attachment.without_netns();
    drop(gone);
    network.forget_results();
    network.del(&attachment);
    warm.returns("the warm world", || lab.world());
}

#[test]
fn an_address_that_another_network_has_is_refused() {
    let lab = Lab::new();
    let first = network(&lab, &ours(), json!({}));
    let pod = Pod::on(&first, "pod");
    let ipam = host_local("10.88.0.0/24");
    let other = Network::new(
        &lab,
        &ours(),
        list("other", json!([plugin(&json!({"ipam": ipam}))])),
    );
    let late = lab.namespace("late");
    let before = lasting(lab.world());
    let refused = other
        .call(Verb::Add, 0, &Attachment::of(&late), None)
        .make(&lab);
    assert!(
        refused.failed().contains("route to 10.88.0.2/32"),
        "{refused}"
    );
    before.returns("the world before", || lasting(lab.world()));
    let _server = pod.serves(tcp(pod.v4(), 80));
    lab.host().reaches(tcp(pod.v4(), 80)).from("pod");
}

#[test]
fn check_names_what_is_missing() {
    let lab = Lab::new();
    let network = network(&lab, &ours(), json!({"ipMasq": true}));
    let pod = Pod::on(&network, "pod");
    let end = host_end(&pod);
    let refused = |word: &str| {
        let told = network.check(&pod.attachment).expect_err(word).to_string();
        assert!(told.contains(word), "{told}");
    };
    lab.host().ip(&format!("route del {} dev {end}", pod.v4()));
    refused("route to 10.88.0.2/32");
    lab.host().ip(&format!(
        "route add {} dev {end} scope link src 10.88.0.1",
        pod.v4()
    ));
    network.check(&pod.attachment).expect("CHECK");
    lab.host().ip(&format!("addr del 10.88.0.1/32 dev {end}"));
    refused("10.88.0.1/32");
}

#[test]
fn gc_takes_what_belongs_to_nobody_and_status_answers() {
    let lab = Lab::new();
    let list = wharfline_netns_tests::lists::current(list(
        "net",
        json!([plugin(&json!({"ipMasq": true}))]),
    ));
    let network = Network::new(&lab, &ours(), list);
    warm_up(&lab, &network);
    let warm = lab.world();
    let pod = Pod::on(&network, "pod");
    network.gc(&[&pod.attachment]);
    network.check(&pod.attachment).expect("CHECK");
    network.status(0).ok();
    network.gc(&[]);
    drop(pod);
    warm.returns("the warm world", || lab.world());
}

#[test]
fn a_reference_containers_rules_go_with_our_del() {
    let lab = Lab::new();
    let config = list("net", json!([plugin(&json!({"ipMasq": true}))]));
    let theirs = Network::new(&lab, &Plugins::reference(), config.clone());
    warm_up(&lab, &theirs);
    let warm = lab.world();
    let pod = Pod::on(&theirs, "pod");
    theirs.served_by(&ours()).del(&pod.attachment);
    drop(pod);
    lasting(warm).returns("the reference's warm world", || lasting(lab.world()));
}
