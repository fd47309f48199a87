//! What the keys of the bridge plugin do to links (features B1 to B18 without the VLAN keys, which `kernel_features` has).

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{gateway, host_local, list, with};
use wharfline_netns_tests::{Pod, conformance, lasting, ours};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Namespace, Network, Plugins, Verb};

const SUBNET: &str = "10.88.0.0/24";

/// A network of the bridge plugin alone, with `keys` put over the usual ones.
fn network<'lab>(lab: &'lab Lab, plugins: &Plugins, keys: Value) -> Network<'lab> {
    let bridge = with(&gateway(&host_local(SUBNET)), &keys);
    Network::new(lab, plugins, list("net", json!([bridge])))
}

/// The refusal of an ADD, as code and text, after which the world must be what it was.
fn refusal(lab: &Lab, network: &Network<'_>) -> (Value, String) {
    let before = lasting(lab.world());
    let pod = lab.namespace("refused");
    let attachment = Attachment::of(&pod);
    let outcome = network.call(Verb::Add, 0, &attachment, None).make(lab);
    let text = outcome.failed();
    drop(pod);
    before.returns("the world before a refused ADD", || lasting(lab.world()));
    (outcome.error()["code"].clone(), text)
}

fn link(namespace: &Namespace, name: &str) -> Value {
    let shown = namespace.exec(&["ip", "-j", "-d", "addr", "show", "dev", name]);
    serde_json::from_str::<Value>(&shown).expect("JSON from ip")[0].clone()
}

conformance! {
    fn the_result_lists_bridge_host_end_and_container_end(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({}));
        let pod = Pod::on(&network, "pod");
        let interfaces = &pod.result["interfaces"];
        assert_eq!(interfaces.as_array().map(Vec::len), Some(3), "{}", pod.result);
        assert_eq!(interfaces[0]["name"], "cni0");
        assert_eq!(interfaces[0]["mac"], link(lab.host(), "cni0")["address"]);
        assert_eq!(interfaces[1]["mac"], link(lab.host(), &pod.host_end())["address"]);
        assert_eq!(interfaces[2]["name"], "eth0");
        assert_eq!(interfaces[2]["mac"], link(&pod, "eth0")["address"]);
        assert_eq!(interfaces[2]["sandbox"], pod.path());
        assert_eq!(pod.result["ips"][0]["interface"], 2);
        assert_eq!(pod.result["ips"][0]["address"], "10.88.0.2/24");
        assert_eq!(pod.result["ips"][0]["gateway"], "10.88.0.1");
        assert_eq!(link(lab.host(), &pod.host_end())["master"], "cni0");
    }

    fn the_bridge_stays_and_keeps_its_mac_address(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({}));
        let a = Pod::on(&network, "a");
        let mac = link(lab.host(), "cni0")["address"].clone();
        let b = Pod::on(&network, "b");
        network.del(&a.attachment);
        network.del(&b.attachment);
        assert_eq!(link(lab.host(), "cni0")["address"], mac);
        Pod::on(&network, "c");
        assert_eq!(link(lab.host(), "cni0")["address"], mac);
    }

    fn an_existing_bridge_is_adopted_as_it_is(plugins) {
        let lab = Lab::new();
        lab.host().ip("link add cni0 type bridge\nlink add other type veth peer name rehto\nlink set other master cni0");
        lab.host().ip("addr add 203.0.113.1/24 dev cni0\nlink set cni0 up");
        // Its IPv4 address is of no gateway's subnet, and this network wants none.
        let network = network(&lab, plugins, json!({"isGateway": false}));
        Pod::on(&network, "pod");
        let world = lab.world();
        assert!(world.objects("host address cni0 family inet local 203.0.113.1").next().is_some());
        assert_eq!(link(lab.host(), "other")["master"], "cni0");
    }

    fn a_second_gateway_address_needs_force_address(plugins) {
        let lab = Lab::new();
        Pod::on(&network(&lab, plugins, json!({})), "first");
        let moved = json!({"ipam": host_local("10.99.0.0/24")});
        let refused = network(&lab, plugins, moved.clone());
        let pod = lab.namespace("second");
        let attachment = Attachment::of(&pod);
        let told = refused.call(Verb::Add, 0, &attachment, None).make(&lab).failed();
        assert!(told.contains("cni0") && told.contains("10.99.0.1"), "{told}");
        refused.del(&attachment);
        network(&lab, plugins, with(&moved, &json!({"forceAddress": true}))).add(&attachment);
        let world = lab.world();
        let addresses = world.objects("host address cni0 family inet ").collect::<Vec<_>>();
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        assert!(addresses[0].contains("10.99.0.1"), "{addresses:?}");
    }

    fn an_interface_name_that_is_taken_is_refused(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({}));
        let pod = lab.namespace("pod");
        pod.ip("link add eth0 type veth peer name other");
        let outcome = network.call(Verb::Add, 0, &Attachment::of(&pod), None).make(&lab);
        assert!(outcome.failed().contains("eth0"), "{outcome}");
    }

    fn a_device_of_the_bridges_name_that_is_none_is_refused(plugins) {
        let lab = Lab::new();
        lab.host().ip("link add cni0 type veth peer name other");
        let (_, told) = refusal(&lab, &network(&lab, plugins, json!({})));
        assert!(told.contains("cni0"), "{told}");
    }

    fn an_explicit_mtu_is_that_of_both_ends(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"mtu": 1380}));
        let pod = Pod::on(&network, "pod");
        assert_eq!(link(&pod, "eth0")["mtu"], 1380);
        assert_eq!(link(lab.host(), &pod.host_end())["mtu"], 1380);
    }

    fn hairpin_is_set_on_the_port(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"hairpinMode": true}));
        let pod = Pod::on(&network, "pod");
        let port = link(lab.host(), &pod.host_end());
        assert_eq!(port["linkinfo"]["info_slave_data"]["hairpin"], true, "{port}");
    }

    fn without_ipam_the_interface_is_up_and_bare(plugins) {
        let lab = Lab::new();
        let bare = list("l2", json!([{"type": "bridge", "bridge": "cni0", "ipam": {}}]));
        let network = Network::new(&lab, plugins, bare);
        let pod = Pod::on(&network, "pod");
        let inside = link(&pod, "eth0");
        assert!(inside["flags"].as_array().expect("flags").contains(&json!("UP")), "{inside}");
        assert_eq!(pod.result["ips"].as_array().map_or(0, Vec::len), 0, "{}", pod.result);
        assert_eq!(lab.host().sysctl("net/ipv4/ip_forward").as_deref(), Some("0"));
    }

    fn a_given_mac_address_is_taken(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"capabilities": {"mac": true}}));
        let capability = network.with_runtime(json!({"mac": "02:11:22:33:44:55"}));
        let arguments = network.with_args("IgnoreUnknown=1;MAC=02:11:22:33:44:66");
        assert_eq!(link(&Pod::on(&capability, "a"), "eth0")["address"], "02:11:22:33:44:55");
        assert_eq!(link(&Pod::on(&arguments, "b"), "eth0")["address"], "02:11:22:33:44:66");
    }

    fn a_spoofed_mac_address_gets_nowhere(plugins) {
        let lab = Lab::new();
        let network = network(&lab, plugins, json!({"macspoofchk": true}));
        let pod = Pod::on(&network, "pod");
        let _web = lab.host().serves(tcp([10, 88, 0, 1], 80));
        pod.reaches(tcp([10, 88, 0, 1], 80));
        pod.ip("link set eth0 down\nlink set eth0 address 02:00:00:00:be:ef\nlink set eth0 up");
        pod.ip("route replace default via 10.88.0.1");
        pod.does_not_reach(tcp([10, 88, 0, 1], 80));
    }

    fn hairpin_and_promiscuous_mode_exclude_each_other(plugins) {
        let lab = Lab::new();
        let (_, told) = refusal(&lab, &network(&lab, plugins, json!({"hairpinMode": true, "promiscMode": true})));
        assert!(told.to_lowercase().contains("hairpin") && told.to_lowercase().contains("promisc"), "{told}");
    }
}

#[test]
fn the_derived_mtu_is_that_of_the_default_routes_link() {
    let lab = Lab::new();
    let _outside = lab.outside();
    lab.host().ip("link set uplink0 mtu 1420");
    let pod = Pod::on(&network(&lab, &ours(), json!({})), "pod");
    assert_eq!(link(&pod, "eth0")["mtu"], 1420);
    assert_eq!(link(lab.host(), "cni0")["mtu"], 1420);
}

#[test]
fn an_existing_bridges_mtu_wins_over_the_derived_one() {
    let lab = Lab::new();
    let _outside = lab.outside();
    lab.host()
        .ip("link set uplink0 mtu 1420\nlink add cni0 mtu 1300 type bridge\nlink set cni0 up");
    let pod = Pod::on(&network(&lab, &ours(), json!({})), "pod");
    assert_eq!(link(&pod, "eth0")["mtu"], 1300);
    assert_eq!(link(lab.host(), "cni0")["mtu"], 1300);
}

#[test]
fn isolated_ports_reach_the_gateway_but_not_each_other() {
    let lab = Lab::new();
    let network = network(&lab, &ours(), json!({"portIsolation": true}));
    let (a, b) = (Pod::on(&network, "a"), Pod::on(&network, "b"));
    let _web = b.serves(tcp(b.v4(), 80));
    let _host = lab.host().serves(tcp([10, 88, 0, 1], 80));
    a.reaches(tcp([10, 88, 0, 1], 80)).from("host");
    lab.host().reaches(tcp(b.v4(), 80)).from("b");
    a.does_not_reach(tcp(b.v4(), 80));
    let neighbours = a.exec(&["ip", "-j", "neigh", "show", &b.v4().to_string()]);
    assert!(
        !neighbours.contains("lladdr"),
        "the ARP request got through: {neighbours}"
    );
}

#[test]
fn a_reused_address_is_reached_at_its_new_mac_address() {
    let lab = Lab::new();
    let one_address = json!({"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": SUBNET, "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"}]]});
    let network = network(&lab, &ours(), json!({"ipam": one_address}));
    let old = Pod::on(&network, "old");
    let server = old.serves(tcp(old.v4(), 80));
    lab.host().reaches(tcp(old.v4(), 80)).from("old");
    network.del(&old.attachment);
    drop((server, old));
    let new = Pod::on(&network, "new");
    let _web = new.serves(tcp(new.v4(), 80));
    // A neighbour at the old MAC would be probed after 5 seconds (neigh/default/delay_first_probe_time).
    let answer = lab
        .host()
        .asks(tcp(new.v4(), 80), std::time::Duration::from_secs(4));
    answer.expect("at once").from("new");
}

#[test]
fn an_address_of_ipv6_is_usable_when_add_returns() {
    let lab = Lab::new();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "fd00:88::/64"}]], "routes": [{"dst": "::/0"}]});
    let pod = Pod::on(&network(&lab, &ours(), json!({"ipam": ipam})), "pod");
    for (namespace, name) in [(lab.host(), "cni0"), (&*pod, "eth0")] {
        let link = link(namespace, name);
        let addresses = link["addr_info"].as_array().expect("addresses");
        let ours = addresses
            .iter()
            .find(|a| a["local"].as_str().is_some_and(|l| l.starts_with("fd00:")));
        assert_eq!(
            ours.expect("an address")["tentative"],
            Value::Null,
            "{name} is tentative"
        );
    }
}

#[test]
fn an_interface_without_addresses_is_checked_too() {
    let lab = Lab::new();
    let bare = list(
        "l2",
        json!([{"type": "bridge", "bridge": "cni0", "ipam": {}}]),
    );
    let network = Network::new(&lab, &ours(), bare);
    let pod = Pod::on(&network, "pod");
    network
        .check(&pod.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_disabled_container_interface_stays_down() {
    let lab = Lab::new();
    let keys = json!({"type": "bridge", "bridge": "cni0", "disableContainerInterface": true});
    let network = Network::new(&lab, &ours(), list("l2", json!([keys.clone()])));
    let pod = Pod::on(&network, "pod");
    assert!(
        !link(&pod, "eth0")["flags"]
            .as_array()
            .expect("flags")
            .contains(&json!("UP"))
    );
    let with_ipam = with(&keys, &json!({"ipam": host_local(SUBNET)}));
    let refused = Network::new(&lab, &ours(), list("l2", json!([with_ipam])));
    let (code, told) = refusal(&lab, &refused);
    assert!(
        code == 7 && told.contains("disableContainerInterface"),
        "{code} {told}"
    );
}

#[test]
fn a_chained_bridge_takes_the_host_side_interface_it_is_given() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    lab.host()
        .ip("link add given type veth peer name eth0 netns pod");
    lab.exec(&["ip", "tuntap", "add", "dev", "tap7", "mode", "tap"]);
    for given in ["given", "tap7"] {
        let attachment = Attachment {
            container: given.to_owned(),
            ..Attachment::of(&pod)
        };
        let previous = json!({"cniVersion": "1.0.0", "interfaces": [
            {"name": given, "mac": link(lab.host(), given)["address"]}], "ips": [], "dns": {}});
        let chained = Network::new(
            &lab,
            &ours(),
            list("l2", json!([{"type": "bridge", "bridge": "cni0"}])),
        );
        let result = chained
            .call(Verb::Add, 0, &attachment, Some(&previous))
            .make(&lab)
            .ok();
        assert_eq!(link(lab.host(), given)["master"], "cni0", "{result}");
        chained
            .call(Verb::Del, 0, &attachment, Some(&result))
            .make(&lab)
            .ok();
        assert_eq!(
            link(lab.host(), given)["master"],
            Value::Null,
            "DEL gives back what it was given"
        );
    }
}

#[test]
fn contradicting_keys_are_configuration_errors() {
    let lab = Lab::new();
    let (code, _) = refusal(
        &lab,
        &network(
            &lab,
            &ours(),
            json!({"hairpinMode": true, "promiscMode": true}),
        ),
    );
    assert_eq!(code, 7);
    lab.host().ip("link add cni9 type veth peer name other");
    let (code, told) = refusal(&lab, &network(&lab, &ours(), json!({"bridge": "cni9"})));
    assert!(code == 7 && told.contains("cni9"), "{code} {told}");
}
