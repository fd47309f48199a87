//! The main job once, for kernels that the whole suite does not run on.

use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, everything_flows, ours, warm_up};
use wharfline_testkit::traffic::{tcp, udp};
use wharfline_testkit::{Lab, Network, Outside};

use super::Case;

/// What every kernel must do.
pub(super) const CASES: [Case; 2] = [
    Case {
        name: "smoke::traffic_flows",
        needs: &[],
        run: traffic_flows,
    },
    Case {
        name: "smoke::the_warm_world_returns",
        needs: &[],
        run: the_warm_world_returns,
    },
];

fn traffic_flows() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(&lab, &ours(), lists::published());
    let published = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
    let (a, b) = (
        Pod::on(&network.with_runtime(published), "a"),
        Pod::on(&network, "b"),
    );
    everything_flows(&outside, &a, &b);
    let _servers = [tcp(a.v4(), 80), udp(a.v4(), 53)].map(|service| a.serves(service));
    outside
        .reaches(udp(Outside::HOST_V4, 5353))
        .from("a")
        .seen_as(Outside::V4);
    lab.host().reaches(tcp([127, 0, 0, 1], 8080)).from("a");
    a.reaches(tcp(Outside::HOST_V4, 8080)).from("a");
}

fn the_warm_world_returns() {
    let lab = Lab::new();
    let network = Network::new(&lab, &ours(), lists::published())
        .with_runtime(ports(&[port("tcp", 8080, 80)]));
    warm_up(&lab, &network);
    let warm = lab.world();
    let pod = Pod::on(&network, "pod");
    network
        .check(&pod.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    network.del(&pod.attachment);
    drop(pod);
    warm.returns("the warm world", || lab.world());
}
