//! Somebody flushes the firewall: the next call, for whichever container, gives every container its rules back.

use serde_json::json;
use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, ours};
use wharfline_testkit::traffic::{Server, tcp};
use wharfline_testkit::{Lab, Network, Outside, World};

/// Two containers with published ports on a host that masquerades, before and after the flush.
struct Host<'lab> {
    network: Network<'lab>,
    pods: [Pod; 2],
    whole: World,
    _servers: [Server; 3],
}

impl<'lab> Host<'lab> {
    fn new(lab: &'lab Lab, outside: &Outside) -> Host<'lab> {
        let network = Network::new(lab, &ours(), lists::published());
        let publish = |name: &str, at: u16| {
            Pod::on(&network.with_runtime(ports(&[port("tcp", at, 80)])), name)
        };
        let pods = [publish("a", 8080), publish("b", 8081)];
        let [a, b] = [&pods[0], &pods[1]].map(|pod| pod.serves(tcp(pod.v4(), 80)));
        let far = outside.serves(tcp(Outside::FAR_V4, 80));
        Host {
            network,
            pods,
            whole: lab.world(),
            _servers: [a, b, far],
        }
    }

    fn works(&self, outside: &Outside) {
        outside
            .reaches(tcp(Outside::HOST_V4, 8080))
            .from("a")
            .seen_as(Outside::V4);
        outside
            .reaches(tcp(Outside::HOST_V4, 8081))
            .from("b")
            .seen_as(Outside::V4);
        for pod in &self.pods {
            pod.reaches(tcp(Outside::FAR_V4, 80))
                .from("outside")
                .seen_as(Outside::HOST_V4);
        }
    }
}

fn heals_after(flush: &[&str]) {
    let lab = Lab::new();
    let outside = lab.outside();
    let host = Host::new(&lab, &outside);
    host.works(&outside);
    lab.exec(flush);
    outside.does_not_reach(tcp(Outside::HOST_V4, 8080));
    let third = Pod::on(&host.network.with_runtime(ports(&[])), "third");
    host.works(&outside);
    third
        .reaches(tcp(Outside::FAR_V4, 80))
        .seen_as(Outside::HOST_V4);
    host.network.del(&third.attachment);
    drop(third);
    host.whole
        .returns("the world before the flush", || lab.world());
}

#[test]
fn after_flush_ruleset() {
    heals_after(&["nft", "flush", "ruleset"]);
}

#[test]
fn after_flush_table() {
    heals_after(&["nft", "flush", "table", "inet", "wharfline"]);
}

#[test]
fn after_delete_table() {
    heals_after(&["nft", "delete", "table", "inet", "wharfline"]);
}

#[test]
fn a_del_of_one_heals_the_other() {
    let lab = Lab::new();
    let outside = lab.outside();
    let host = Host::new(&lab, &outside);
    lab.exec(&["nft", "flush", "ruleset"]);
    host.network.del(&host.pods[0].attachment);
    outside.reaches(tcp(Outside::HOST_V4, 8081)).from("b");
    outside.does_not_reach(tcp(Outside::HOST_V4, 8080));
}

#[test]
fn a_rule_that_somebody_deleted_is_laid_again() {
    let lab = Lab::new();
    let outside = lab.outside();
    let host = Host::new(&lab, &outside);
    let listed = lab.exec(&["nft", "-a", "-j", "list", "table", "inet", "wharfline"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON from nft");
    let rules = listed["nftables"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item.get("rule"));
    for rule in rules {
        let deletion = json!({"nftables": [{"delete": {"rule": {"family": "inet", "table": "wharfline",
            "chain": rule["chain"], "handle": rule["handle"]}}}]});
        let output = lab.try_exec(&["nft", "-j", "-f", "-"], &deletion.to_string());
        // Each healing lays the base anew, so only the first deletion still finds its handle; one is what is asked for.
        if output.succeeded() {
            let third = Pod::on(&host.network.with_runtime(ports(&[])), "third");
            host.network.del(&third.attachment);
            drop(third);
            host.whole
                .returns(&format!("the world before the deletion of {rule}"), || {
                    lab.world()
                });
        }
    }
    host.works(&outside);
}

#[test]
fn an_element_that_somebody_deleted_comes_back() {
    let lab = Lab::new();
    let outside = lab.outside();
    let host = Host::new(&lab, &outside);
    // By now the plugins rely on what they noted of the elements that containers share.
    let another = |name: &str| {
        let pod = Pod::on(&host.network.with_runtime(ports(&[])), name);
        host.network.del(&pod.attachment);
    };
    another("third");
    for deleted in [
        "flush set inet wharfline masquerade4",
        "delete element inet wharfline links { \"cni0\" . \"cni0\" }",
    ] {
        lab.exec(&["nft", deleted]);
        another("fourth");
        host.whole
            .returns(&format!("the world before {deleted}"), || lab.world());
    }
    host.works(&outside);
}
