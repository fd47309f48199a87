//! Published SCTP ports, which need the protocol in the kernel and in its connection tracking.

use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, ours};
use wharfline_testkit::traffic::{Protocol, service};
use wharfline_testkit::{Feature, Lab, Network, Outside};

use super::Case;

/// The cases.
pub(super) const CASES: [Case; 1] = [Case {
    name: "sctp::a_published_port_is_reached_over_both_families",
    needs: &[Feature::Sctp],
    run: a_published_port_is_reached_over_both_families,
}];

fn a_published_port_is_reached_over_both_families() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(&lab, &ours(), lists::published());
    let pod = Pod::on(
        &network.with_runtime(ports(&[port("sctp", 8080, 80)])),
        "pod",
    );
    let sctp = |ip, port| service(Protocol::Sctp, ip, port);
    let _servers = [sctp(pod.v4(), 80), sctp(pod.v6(), 80)].map(|service| pod.serves(service));
    outside
        .reaches(sctp(Outside::HOST_V4, 8080))
        .from("pod")
        .seen_as(Outside::V4);
    outside
        .reaches(sctp(Outside::HOST_V6, 8080))
        .from("pod")
        .seen_as(Outside::V6);
    network.del(&pod.attachment);
    outside.does_not_reach(sctp(Outside::HOST_V4, 8080));
}
