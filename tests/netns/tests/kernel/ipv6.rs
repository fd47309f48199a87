//! Networks with IPv6 only, and what switching forwarding on does to a host that learns its routes from a router.

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{self, list, masquerading, port, portmap, ports};
use wharfline_netns_tests::{Pod, conformance, ours};
use wharfline_testkit::fault::{self, Stops};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Network, Outside, Verb};

fn ipv6_only() -> Value {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "fd00:88::/64"}]], "routes": [{"dst": "::/0"}]});
    list("six", json!([masquerading(&ipam), portmap()]))
}

conformance! {
    fn a_network_of_ipv6_alone_works_in_every_direction(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        let network = Network::new(&lab, plugins, ipv6_only());
        let runtime = ports(&[port("tcp", 8080, 80)]);
        let (a, b) = (Pod::on(&network.with_runtime(runtime), "a"), Pod::on(&network, "b"));
        let _web = a.serves(tcp(a.v6(), 80));
        b.reaches(tcp(a.v6(), 80)).from("a").seen_as(b.v6());
        lab.host().reaches(tcp(a.v6(), 80)).from("a");
        let _far = outside.serves(tcp(Outside::FAR_V6, 80));
        a.reaches(tcp(Outside::FAR_V6, 80)).from("outside").seen_as(Outside::HOST_V6);
        outside.reaches(tcp(Outside::HOST_V6, 8080)).from("a").seen_as(Outside::V6);
    }

    fn forwarding_is_switched_on_for_the_families_in_use(plugins) {
        let lab = Lab::new();
        Pod::on(&Network::new(&lab, plugins, ipv6_only()), "six");
        assert_eq!(lab.host().sysctl("net/ipv6/conf/all/forwarding").as_deref(), Some("1"));
        assert_eq!(lab.host().sysctl("net/ipv4/ip_forward").as_deref(), Some("0"));
    }

    fn the_bridge_takes_no_router_advertisements(plugins) {
        let lab = Lab::new();
        Pod::on(&Network::new(&lab, plugins, lists::published()), "pod");
        assert_eq!(lab.host().sysctl("net/ipv6/conf/cni0/accept_ra").as_deref(), Some("0"));
    }
}

const UPLINK_RA: &str = "net/ipv6/conf/uplink0/accept_ra";
const FORWARDING: &str = "net/ipv6/conf/all/forwarding";

#[test]
fn an_uplink_that_learns_from_its_router_goes_on_doing_so() {
    let lab = Lab::new();
    let _outside = lab.outside();
    lab.host().set_sysctl(UPLINK_RA, "1");
    Pod::on(&Network::new(&lab, &ours(), ipv6_only()), "pod");
    assert_eq!(lab.host().sysctl(FORWARDING).as_deref(), Some("1"));
    assert_eq!(lab.host().sysctl(UPLINK_RA).as_deref(), Some("2"));
}

#[test]
fn an_uplink_that_ignores_its_router_goes_on_doing_so() {
    let lab = Lab::new();
    let _outside = lab.outside();
    lab.host().set_sysctl(UPLINK_RA, "0");
    Pod::on(&Network::new(&lab, &ours(), ipv6_only()), "pod");
    assert_eq!(lab.host().sysctl(UPLINK_RA).as_deref(), Some("0"));
}

#[test]
fn at_no_moment_does_the_host_forward_and_ignore_its_router() {
    for nth in 1.. {
        let lab = Lab::new();
        let _outside = lab.outside();
        lab.host().set_sysctl(UPLINK_RA, "1");
        let network = Network::new(&lab, &ours(), ipv6_only());
        let pod = lab.namespace("pod");
        let add = network.call(Verb::Add, 0, &Attachment::of(&pod), None);
        let struck = fault::killed_at(&lab, &add, nth, Stops::EveryChange);
        let [forwards, learns] =
            [FORWARDING, UPLINK_RA].map(|key| lab.host().sysctl(key).unwrap_or_default());
        // With forwarding on, the kernel takes advertisements at accept_ra=2 only (ip-sysctl: accept_ra).
        assert!(
            forwards == "0" || learns == "2",
            "killed at {:?}: {forwards} {learns}",
            struck.at
        );
        if struck.at.is_none() {
            break;
        }
    }
}
