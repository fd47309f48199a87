//! The kit proved against the reference plugins: what it claims about a plugin must be true of those that everybody uses.

use nix::errno::Errno;
use serde_json::{Value, json};
use wharfline_testkit::fault::{self, Stops};
use wharfline_testkit::traffic::{tcp, udp};
use wharfline_testkit::{Attachment, Lab, Network, Outside, Plugins, Verb};

fn bridge_list() -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]})
}

fn address_in(result: &Value) -> std::net::IpAddr {
    let address = result["ips"][0]["address"].as_str().expect("an address");
    address
        .split('/')
        .next()
        .and_then(|ip| ip.parse().ok())
        .expect("an IP address")
}

#[test]
fn a_lab_has_links_of_its_own_and_leaves_nothing() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let _outside = lab.outside();
    let world = lab.world_with(&[&pod]);
    assert_eq!(
        world.objects("host link ").collect::<Vec<_>>(),
        ["host link lo", "host link uplink0"]
    );
    assert_eq!(
        world.objects("pod link ").collect::<Vec<_>>(),
        ["pod link lo"]
    );
    assert!(lab.path("/run/netns/pod").exists());
    drop(lab);
    let after = std::fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    assert_eq!(before, after);
}

#[test]
fn the_warm_world_returns_after_add_and_del() {
    let lab = Lab::new();
    let network = Network::new(&lab, &Plugins::reference(), bridge_list());
    let pod = lab.namespace("pod");
    let attachment = Attachment::of(&pod);
    network.add(&attachment);
    network.del(&attachment);
    let warm = lab.world_with(&[&pod]);
    network.add(&attachment);
    let attached = warm.difference(&lab.world_with(&[&pod]));
    assert!(attached.mentions("+ host link veth"), "{attached}");
    assert!(
        attached.mentions("+ file /var/lib/cni/networks/net/10.88.0.3"),
        "{attached}"
    );
    network.check(&attachment).expect("CHECK");
    network.del(&attachment);
    warm.returns("the warm world", || lab.world_with(&[&pod]));
}

#[test]
fn traffic_flows_and_its_source_is_seen() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(&lab, &Plugins::reference(), bridge_list()).with_runtime(
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}),
    );
    let (a, b) = (lab.namespace("a"), lab.namespace("b"));
    let a_ip = address_in(&network.add(&Attachment::of(&a)));
    let b_ip = address_in(&network.with_runtime(json!({})).add(&Attachment::of(&b)));
    let _web = a.serves(tcp(a_ip, 80));
    let _dns = a.serves(udp(a_ip, 53));
    b.reaches(tcp(a_ip, 80)).from("a").seen_as(b_ip);
    b.reaches(udp(a_ip, 53)).from("a").seen_as(b_ip);
    b.does_not_reach(tcp(a_ip, 81));
    outside
        .reaches(tcp(Outside::HOST_V4, 8080))
        .from("a")
        .seen_as(Outside::V4);
    outside.does_not_reach(tcp(a_ip, 80));
    let _far = outside.serves(tcp(Outside::FAR_V4, 80));
    b.reaches(tcp(Outside::FAR_V4, 80))
        .from("outside")
        .seen_as(Outside::HOST_V4);
}

#[test]
fn a_plugin_is_killed_at_any_system_call() {
    let lab = Lab::new();
    let network = Network::new(&lab, &Plugins::reference(), bridge_list());
    let pod = lab.namespace("pod");
    let attachment = Attachment::of(&pod);
    let add = network.call(Verb::Add, 0, &attachment, None);
    for nth in [1, 50, 200, 500] {
        let struck = fault::killed_at(&lab, &add, nth, Stops::EveryCall);
        assert!(
            struck.at.is_some() && struck.outcome.output.was_killed(),
            "{}",
            struck.outcome
        );
        network.del(&attachment);
    }
    // On a host of its own: the reference may fail on a bridge that a killed ADD left without an address.
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let network = Network::new(&lab, &Plugins::reference(), bridge_list());
    let add = network.call(Verb::Add, 0, &Attachment::of(&pod), None);
    let unreached = fault::killed_at(&lab, &add, 1_000_000, Stops::EveryCall);
    assert_eq!(unreached.at, None);
    unreached.outcome.ok();
}

#[test]
fn the_kernel_refuses_the_nth_netlink_change() {
    let lab = Lab::new();
    let network = Network::new(&lab, &Plugins::reference(), bridge_list());
    let pod = lab.namespace("pod");
    let attachment = Attachment::of(&pod);
    let first = fault::refused_at(&lab, &network.call(Verb::Add, 0, &attachment, None), 1);
    assert!(
        first
            .at
            .expect("a netlink message")
            .starts_with("netlink protocol 0")
    );
    assert!(
        first.outcome.failed().contains("operation not supported"),
        "{}",
        first.outcome
    );
    assert_eq!(lab.world().state("host link cni0"), None);
}

#[test]
fn a_system_call_fails_with_the_errno_asked_for() {
    let lab = Lab::new();
    let network = Network::new(&lab, &Plugins::reference(), bridge_list());
    let pod = lab.namespace("pod");
    let add = network.call(Verb::Add, 0, &Attachment::of(&pod), None);
    let (outcome, made) = fault::trace(&lab, &add);
    outcome.ok();
    assert!(
        made.iter()
            .any(|call| call.to_string().starts_with("sendto"))
    );
    let errors = (1..100).map(|nth| fault::failing_at(&lab, &add, nth, Errno::ENOSPC));
    let told = errors.filter(|struck| {
        struck
            .outcome
            .output
            .stdout
            .contains("no space left on device")
    });
    assert!(told.count() > 0);
}
