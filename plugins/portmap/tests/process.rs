//! The binary `portmap` on a real kernel, chained after `bridge`: who owns a port, and what stands in its way.
//! Each test has a host of its own. Needs root, nftables, iproute2, iptables, and built binaries (`./build`).

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};
use wharfline_testkit::traffic::{tcp, udp};
use wharfline_testkit::{
    Attachment, Lab, Namespace, Network, Outcome, Outside, Plugins, Verb, World,
};

const BRIDGE: usize = 0;
const PORTMAP: usize = 1;

/// A network whose bridge masquerades and guards MAC addresses: it has elements of its own beside portmap's.
fn network(lab: &Lab) -> Network<'_> {
    let ipam = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
    let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "macspoofchk": true, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": true}}]});
    Network::new(lab, &Plugins::ours(), list)
}

/// The network as it is for a container that publishes its port 80 as `port`.
fn publishing<'lab>(network: &Network<'lab>, protocol: &str, port: u16) -> Network<'lab> {
    network.with_runtime(json!({"portMappings": [
        {"hostPort": port, "containerPort": 80, "protocol": protocol}]}))
}

/// A container's namespace, its `lo` up.
fn container(lab: &Lab, name: &str) -> Namespace {
    let namespace = lab.namespace(name);
    namespace.ip("link set lo up");
    namespace
}

/// The IPv4 address of a result.
fn address(result: &Value) -> IpAddr {
    nth_address(result, 0)
}

/// The IPv6 address of a result.
fn address6(result: &Value) -> IpAddr {
    nth_address(result, 1)
}

fn nth_address(result: &Value, n: usize) -> IpAddr {
    let text = result["ips"][n]["address"].as_str().expect("an address");
    let ip = text.split('/').next().expect("an address");
    ip.parse().expect("an address")
}

/// The container on the bridge only: what portmap is given as prevResult.
fn bridged(network: &Network<'_>, attachment: &Attachment) -> Value {
    network
        .call(Verb::Add, BRIDGE, attachment, None)
        .make(network.lab())
        .ok()
}

fn add_ports(network: &Network<'_>, attachment: &Attachment, previous: &Value) -> Outcome {
    network
        .call(Verb::Add, PORTMAP, attachment, Some(previous))
        .make(network.lab())
}

/// The world without locks, which hold nothing, and without folders.
fn lasting(world: World) -> World {
    world
        .without_empty("file /run/wharfline/")
        .without("directory /run/wharfline")
}

fn table(lab: &Lab) -> String {
    lab.exec(&["nft", "list", "table", "inet", "wharfline"])
}

#[test]
fn a_port_of_a_container_that_died_without_a_del_goes_to_the_next() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = publishing(&network(&lab), "tcp", 8080);
    let dead = container(&lab, "dead");
    let attachment = Attachment::of(&dead);
    network.add(&attachment);
    drop(dead);
    let next = container(&lab, "next");
    let result = network.add(&Attachment::of(&next));
    let _server = next.serves(tcp(address(&result), 80));
    outside.reaches(tcp(Outside::HOST_V4, 8080)).from("next");
    // The DEL that comes late takes nothing that is the next one's by now.
    network.del(&attachment.without_netns());
    outside.reaches(tcp(Outside::HOST_V4, 8080)).from("next");
    network.check(&Attachment::of(&next)).expect("whole");
}

#[test]
fn a_client_that_keeps_its_udp_socket_follows_the_port_to_the_next_container() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = publishing(&network(&lab), "udp", 5353);
    let first = container(&lab, "first");
    let result = network.add(&Attachment::of(&first));
    let server = first.serves(udp(address(&result), 80));
    outside.reaches(udp(Outside::HOST_V4, 5353)).from("first");
    let flow = outside.flow_to(udp(Outside::HOST_V4, 5353));
    flow.asks().expect("an answer").from("first");
    network.del(&Attachment::of(&first));
    drop((server, first));
    let second = container(&lab, "second");
    let result = network.add(&Attachment::of(&second));
    let _server = second.serves(udp(address(&result), 80));
    outside.reaches(udp(Outside::HOST_V4, 5353)).from("second");
    flow.asks().expect("an answer").from("second");
}

#[test]
fn a_port_of_a_living_container_is_refused_by_its_owners_name_and_nothing_changes() {
    let lab = Lab::new();
    let network = publishing(&network(&lab), "tcp", 8080);
    let owner = container(&lab, "owner");
    network.add(&Attachment::of(&owner));
    let other = container(&lab, "other");
    let attachment = Attachment::of(&other);
    let previous = bridged(&network, &attachment);
    let before = lasting(lab.world());
    let told = add_ports(&network, &attachment, &previous).refused(100);
    for words in ["tcp port 8080", "eth0 of container owner on network net"] {
        assert!(told.contains(words), "{told}");
    }
    before.returns("the world before", || lasting(lab.world()));
}

#[test]
fn one_port_may_be_one_containers_on_loopback_and_anothers_elsewhere() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = network(&lab);
    let on_loopback = network.with_runtime(json!({"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "hostIP": "::1"}]}));
    let [inner, outer] = ["inner", "outer"].map(|name| container(&lab, name));
    let result = on_loopback.add(&Attachment::of(&inner));
    let _inner = inner.serves(tcp(address6(&result), 80));
    let anywhere = publishing(&network, "tcp", 8080);
    let result = anywhere.add(&Attachment::of(&outer));
    let _outer = outer.serves(tcp(address6(&result), 80));
    lab.host()
        .reaches(tcp(Ipv6Addr::LOCALHOST, 8080))
        .from("inner");
    outside.reaches(tcp(Outside::HOST_V6, 8080)).from("outer");
    on_loopback.check(&Attachment::of(&inner)).expect("whole");
    anywhere.check(&Attachment::of(&outer)).expect("whole");
    anywhere.del(&Attachment::of(&outer));
    lab.host()
        .reaches(tcp(Ipv6Addr::LOCALHOST, 8080))
        .from("inner");
}

#[test]
fn a_table_of_a_newer_version_is_left_alone() {
    let lab = Lab::new();
    let network = publishing(&network(&lab), "tcp", 8080);
    let pod = container(&lab, "pod");
    let attachment = Attachment::of(&pod);
    let previous = bridged(&network, &attachment);
    lab.exec(&["nft", "flush", "ruleset"]);
    lab.exec(&[
        "nft",
        "add table inet wharfline { comment \"wharfline 99\"; }",
    ]);
    lab.exec(&["nft", "add chain inet wharfline of_tomorrow"]);
    let before = table(&lab);
    let told = add_ports(&network, &attachment, &previous).failed();
    assert!(told.contains("inet wharfline"), "{told}");
    assert_eq!(table(&lab), before);
}

#[test]
fn a_del_without_a_record_takes_its_own_plugins_elements_only() {
    let lab = Lab::new();
    let network = publishing(&network(&lab), "tcp", 8080);
    let pod = container(&lab, "pod");
    let attachment = Attachment::of(&pod);
    let result = network.add(&attachment);
    let guarded = || {
        let listed = lab.exec(&["nft", "list", "table", "bridge", "wharfline"]);
        listed.matches("comment \"").count() > 1
    };
    let published = || table(&lab).contains("tcp . 8080");
    assert!(guarded() && published());
    let forget = |plugin: &str| {
        let script = format!("rm -r /run/wharfline/host-*/{plugin}/net");
        lab.exec(&["sh", "-c", &script]);
    };
    let del = |step| {
        let call = network.call(Verb::Del, step, &attachment, Some(&result));
        call.make(&lab).ok();
    };
    forget("portmap");
    del(PORTMAP);
    assert!(!published() && guarded());
    add_ports(&network, &attachment, &result).ok();
    forget("bridge");
    del(BRIDGE);
    assert!(published() && !guarded());
    del(PORTMAP);
    assert!(!published());
}

#[test]
fn without_the_nft_program_nothing_changes_and_the_error_says_what_to_install() {
    let lab = Lab::new();
    let network = publishing(&network(&lab), "tcp", 8080);
    let plain = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}}]});
    let plain = Network::new(&lab, &Plugins::ours(), plain);
    let pod = container(&lab, "pod");
    let attachment = Attachment::of(&pod);
    let previous = bridged(&plain, &attachment);
    let before = lasting(lab.world());
    lab.mount_small("/usr/sbin", 4096);
    let call = network.call(Verb::Add, PORTMAP, &attachment, Some(&previous));
    let add = call.env("PATH", "/nonexistent").make(&lab);
    let status = network.of_network(Verb::Status, PORTMAP, &Value::Null);
    let status = status.env("PATH", "/nonexistent").make(&lab);
    let del = network.call(Verb::Del, PORTMAP, &attachment, Some(&previous));
    let del = del.env("PATH", "/nonexistent").make(&lab);
    lab.enter(|| nix::mount::umount("/usr/sbin").expect("uncover /usr/sbin"));
    del.ok();
    for told in [add.refused(5), status.refused(50)] {
        assert!(told.contains("nft") && told.contains("nftables"), "{told}");
    }
    before.returns("the world before", || lasting(lab.world()));
    add_ports(&network, &attachment, &previous).ok();
}

#[test]
fn where_iptables_legacy_drops_status_says_what_mends_it_and_that_does() {
    let lab = Lab::new();
    let legacy = lab.try_exec(&["iptables-legacy", "-P", "FORWARD", "DROP"], "");
    if !legacy.succeeded() {
        // This kernel is built without it.
        return;
    }
    let outside = lab.outside();
    let network = publishing(&network(&lab), "tcp", 8080);
    let pod = container(&lab, "pod");
    let attachment = Attachment::of(&pod);
    let bridge = network
        .call(Verb::Add, BRIDGE, &attachment, None)
        .make(&lab);
    let ports = add_ports(&network, &attachment, &bridge.ok());
    let warned = |outcome: &Outcome| outcome.output.stderr.matches("iptables-legacy's").count();
    assert_eq!((warned(&bridge), warned(&ports)), (1, 0), "{bridge}{ports}");
    let _server = pod.serves(tcp(address(&ports.ok()), 80));
    outside.does_not_reach(tcp(Outside::HOST_V4, 8080));
    let advice = "iptables-legacy -I FORWARD -m mark --mark 0x1000/0x1000 -j ACCEPT";
    for step in [BRIDGE, PORTMAP] {
        let told = network.status(step).refused(51);
        assert!(told.contains(advice), "{told}");
    }
    lab.exec(&advice.split(' ').collect::<Vec<_>>());
    outside.reaches(tcp(Outside::HOST_V4, 8080)).from("pod");
    for step in [BRIDGE, PORTMAP] {
        network.status(step).ok();
    }
}
