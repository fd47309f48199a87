//! CHECK notices each single thing that is removed or altered behind our back, and names it.

use serde_json::json;
use wharfline_netns_tests::lists::{self, dual_stack_ipam, list, masquerading, port, ports};
use wharfline_netns_tests::{Pod, conformance, ours};
use wharfline_testkit::{Lab, Network};

/// Attaches a container, lets `fault` happen, and asserts that CHECK fails with all of `words` in its message.
fn names(fault: impl Fn(&Lab, &Pod), words: &[&str]) {
    let lab = Lab::new();
    let _outside = lab.outside();
    let runtime = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
    let network = Network::new(&lab, &ours(), lists::published()).with_runtime(runtime);
    let pod = Pod::on(&network, "pod");
    network
        .check(&pod.attachment)
        .unwrap_or_else(|failed| panic!("before the fault: {failed}"));
    fault(&lab, &pod);
    let Err(failed) = network.check(&pod.attachment) else {
        panic!("CHECK did not notice");
    };
    let told = failed.failed().to_lowercase();
    for word in words {
        let word = word.replace("HOST_END", &pod.host_end()).to_lowercase();
        assert!(told.contains(&word), "CHECK does not say {word:?}: {told}");
    }
}

macro_rules! check_names {
    ($($name:ident: |$lab:ident, $pod:ident| $fault:expr => [$($word:literal),+];)*) => {
        $(#[test] fn $name() {
            names(|$lab, $pod| { let _ = (&$lab, &$pod); $fault }, &[$($word),+]);
        })*
    };
}

check_names! {
    the_containers_link_removed: |lab, pod| pod.ip("link del eth0") => ["eth0"];
    the_containers_link_down: |lab, pod| pod.ip("link set eth0 down") => ["eth0"];
    the_containers_link_renamed: |lab, pod| pod.ip("link set eth0 down\nlink set eth0 name eth7") => ["eth0"];
    the_containers_mac_altered: |lab, pod| pod.ip("link set eth0 address 02:00:00:00:be:ef") => ["eth0", "02:00:00:00:be:ef"];
    the_containers_mtu_altered: |lab, pod| pod.ip("link set eth0 mtu 1300") => ["eth0", "1300"];
    the_ipv4_address_removed: |lab, pod| pod.ip("addr del 10.88.0.2/24 dev eth0") => ["10.88.0.2"];
    the_ipv6_address_removed: |lab, pod| pod.ip("addr del fd00:88::2/64 dev eth0") => ["fd00:88::2"];
    the_default_route_removed: |lab, pod| pod.ip("route del default via 10.88.0.1") => ["0.0.0.0/0"];
    the_default_route_altered: |lab, pod| pod.ip("route replace default via 10.88.0.77") => ["0.0.0.0/0"];
    the_ipv6_default_route_removed: |lab, pod| pod.ip("route del default via fd00:88::1") => ["::/0"];
    the_host_end_off_its_bridge: |lab, pod| lab.host().ip(&format!("link set {} nomaster", pod.host_end())) => ["HOST_END", "cni0"];
    the_host_end_down: |lab, pod| lab.host().ip(&format!("link set {} down", pod.host_end())) => ["HOST_END"];
    the_hairpin_flag_cleared: |lab, pod| { lab.exec(&["bridge", "link", "set", "dev", &pod.host_end(), "hairpin", "off"]); } => ["HOST_END", "hairpin"];
    the_bridge_down: |lab, pod| lab.host().ip("link set cni0 down") => ["cni0"];
    the_bridge_removed: |lab, pod| lab.host().ip("link del cni0") => ["cni0"];
    the_gateway_address_removed: |lab, pod| lab.host().ip("addr del 10.88.0.1/24 dev cni0") => ["cni0", "10.88.0.1"];
    forwarding_switched_off: |lab, pod| lab.host().set_sysctl("net/ipv4/ip_forward", "0") => ["ip_forward"];
    ipv6_forwarding_switched_off: |lab, pod| lab.host().set_sysctl("net/ipv6/conf/all/forwarding", "0") => ["forwarding"];
    the_lease_removed: |lab, pod| std::fs::remove_file(lab.path("/var/lib/cni/networks/net/10.88.0.2")).expect("remove it") => ["10.88.0.2"];
    the_lease_of_another: |lab, pod| std::fs::write(lab.path("/var/lib/cni/networks/net/10.88.0.2"), "other\r\neth0").expect("write it") => ["10.88.0.2"];
    a_published_ports_element_removed: |lab, pod| forget_elements(lab, "8080") => ["8080"];
    a_masqueraded_subnets_element_removed: |lab, pod| forget_elements(lab, "10.88.0.0") => ["10.88.0.0/24"];
}

/// A flushed table is no fault of one container: CHECK says so, or has given every container its rules back.
#[test]
fn check_names_or_mends_a_flushed_table() {
    for flush in [
        ["flush", "ruleset", "", ""],
        ["flush", "table", "inet", "wharfline"],
        ["delete", "table", "inet", "wharfline"],
    ] {
        let lab = Lab::new();
        let network = Network::new(&lab, &ours(), lists::published())
            .with_runtime(ports(&[port("tcp", 8080, 80)]));
        let pod = Pod::on(&network, "pod");
        let whole = lab.world();
        let words: Vec<&str> = ["nft"]
            .into_iter()
            .chain(flush)
            .filter(|word| !word.is_empty())
            .collect();
        lab.exec(&words);
        match network.check(&pod.attachment) {
            Err(failed) => assert!(failed.failed().contains("wharfline"), "{failed}"),
            Ok(()) => whole.returns("the world before the flush", || lab.world()),
        }
    }
}

/// Deletes the elements of our table that mention `what`, whatever the sets are called.
fn forget_elements(lab: &Lab, what: &str) {
    let listed = lab.exec(&["nft", "-j", "list", "table", "inet", "wharfline"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON from nft");
    let sets = listed["nftables"].as_array().expect("a list").iter();
    let sets = sets.filter_map(|item| item.get("set").or(item.get("map")));
    let commands: Vec<_> = sets
        .flat_map(|set| {
            let elements = set["elem"].as_array().cloned().unwrap_or_default();
            let wanted = elements
                .into_iter()
                .filter(|element| element.to_string().contains(what));
            wanted.map(|element| {
                serde_json::json!({"delete": {"element": {"family": "inet", "table": "wharfline",
                    "name": set["name"], "elem": [element]}}})
            })
        })
        .collect();
    assert!(!commands.is_empty(), "no element mentions {what}");
    let output = lab.try_exec(
        &["nft", "-j", "-f", "-"],
        &serde_json::json!({"nftables": commands}).to_string(),
    );
    assert!(output.succeeded(), "{output}");
}

conformance! {
    fn check_accepts_what_add_made(plugins) {
        let lab = Lab::new();
        // Without portmap: the packaged reference's CHECK of port mappings fails on what its own ADD made.
        let conflist = list("net", json!([masquerading(&dual_stack_ipam())]));
        let network = Network::new(&lab, plugins, conflist);
        let (a, b) = (Pod::on(&network, "a"), Pod::on(&network, "b"));
        network.check(&a.attachment).unwrap_or_else(|failed| panic!("{failed}"));
        network.del(&b.attachment);
        network.check(&a.attachment).unwrap_or_else(|failed| panic!("{failed}"));
    }

    fn check_notices_a_missing_address(plugins) {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, lists::plain());
        let pod = Pod::on(&network, "pod");
        pod.ip("addr del 10.88.0.2/24 dev eth0");
        let failed = network.check(&pod.attachment).expect_err("CHECK fails");
        assert!(failed.failed().contains("10.88.0.2"), "{failed}");
    }
}
