//! ADD and then DEL leave exactly the warm world: what one ADD and DEL before them left.

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{self, gateway, host_local, list, port, ports, with};
use wharfline_netns_tests::{Pod, conformance, ours, warm_up};
use wharfline_testkit::{Attachment, Lab, Network, Plugins};

/// The claim itself, in every form in which a runtime sends DEL.
fn leaves_the_warm_world(plugins: &Plugins, conflist: Value, runtime: Value) {
    let lab = Lab::new();
    let _outside = lab.outside();
    let network = Network::new(&lab, plugins, conflist).with_runtime(runtime);
    warm_up(&lab, &network);
    let warm = lab.world();

    let pod = Pod::on(&network, "pod");
    assert!(
        warm.difference(&lab.world()).mentions("link"),
        "ADD made no link"
    );
    network.del(&pod.attachment);
    drop(pod);
    warm.returns("the warm world after DEL", || lab.world());

    let pod = Pod::on(&network, "pod");
    network.del(&pod.attachment);
    network.del(&pod.attachment);
    drop(pod);
    warm.returns("the warm world after a second DEL", || lab.world());
}

conformance! {
    fn plain_bridge(plugins) {
        leaves_the_warm_world(plugins, lists::plain(), json!({}));
    }

    fn dual_stack_with_masquerade_and_published_ports(plugins) {
        let runtime = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
        leaves_the_warm_world(plugins, lists::published(), runtime);
    }

    fn loopback(plugins) {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, list("lo", json!([{"type": "loopback"}])));
        let pod = lab.namespace("pod");
        let lo = Attachment::of(&pod).named("lo");
        let cold = lab.world_with(&[&pod]);
        network.add(&lo);
        let up = cold.difference(&lab.world_with(&[&pod]));
        assert!(up.mentions("pod link lo") && up.mentions("LOOPBACK+UP"), "{up}");
        network.check(&lo).expect("CHECK");
        network.del(&lo);
    }
}

#[test]
fn every_option_of_bridge_that_this_kernel_can_do() {
    let options = [
        json!({"promiscMode": true, "hairpinMode": false}),
        json!({"isDefaultGateway": true}),
        json!({"portIsolation": true}),
        json!({"macspoofchk": true}),
        json!({"enabledad": true}),
        json!({"mtu": 1400}),
        json!({"ipMasq": true}),
    ];
    for option in options {
        let bridge = with(&gateway(&host_local("10.88.0.0/24")), &option);
        leaves_the_warm_world(&ours(), list("net", json!([bridge])), json!({}));
    }
}

#[test]
fn a_del_after_the_namespace_vanished_leaves_the_warm_world() {
    let lab = Lab::new();
    let runtime = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
    let network = Network::new(&lab, &ours(), lists::published()).with_runtime(runtime);
    warm_up(&lab, &network);
    let warm = lab.world();

    let pod = Pod::on(&network, "pod");
    let attachment = pod.attachment.clone();
    drop(pod);
    network.del(&attachment);
    warm.returns("the warm world after DEL with a path that is gone", || {
        lab.world()
    });

    let pod = Pod::on(&network, "pod");
    let attachment = pod.attachment.without_netns();
    drop(pod);
    // No kept result either: another runtime process, or its second try.
    network.forget_results();
    network.del(&attachment);
    warm.returns(
        "the warm world after DEL with neither namespace nor result",
        || lab.world(),
    );
}
