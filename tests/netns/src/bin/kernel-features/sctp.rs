//! Published SCTP ports, which need the protocol in the kernel and in its connection tracking.

use wharfline_netns_tests::docker::{self, Server};
use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, ours};
use wharfline_testkit::traffic::{Protocol, service};
use wharfline_testkit::{Feature, Lab, Network, Outside};

use super::Case;

/// The cases.
pub(super) const CASES: [Case; 2] = [
    Case {
        name: "sctp::a_published_port_is_reached_over_both_families",
        needs: &[Feature::Sctp],
        run: a_published_port_is_reached_over_both_families,
    },
    Case {
        name: "sctp::a_published_port_of_a_docker_network_is_reached",
        needs: &[Feature::Sctp],
        run: a_published_port_of_a_docker_network_is_reached,
    },
];

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

fn a_published_port_of_a_docker_network_is_reached() {
    let lab = Lab::new();
    let outside = lab.outside();
    let server = Server::start(&lab, "bridge");
    let pod = lab.namespace("pod");
    let network = docker::network("n1", "10.66.1.0/24");
    server.call("/NetworkDriver.CreateNetwork", &network);
    let endpoint = docker::endpoint("n1", "e1", "10.66.1.2/24");
    server.call("/NetworkDriver.CreateEndpoint", &endpoint);
    let joined = server.call("/NetworkDriver.Join", &docker::join("n1", "e1", pod.path()));
    // dockerd's part: the link goes into the container.
    let link = joined["InterfaceName"]["SrcName"].as_str().expect("a link");
    lab.host().ip(&format!("link set {link} netns pod"));
    pod.ip(&format!(
        "link set lo up
         link set {link} name eth0 up
         addr add 10.66.1.2/24 dev eth0
         route add default via 10.66.1.1"
    ));
    let mut ports = docker::ports("n1", "e1", &[(8080, 80)]);
    // IPPROTO_SCTP.
    ports["Options"]["com.docker.network.portmap"][0]["Proto"] = 132.into();
    server.call("/NetworkDriver.ProgramExternalConnectivity", &ports);
    let sctp = |ip, port| service(Protocol::Sctp, ip, port);
    let address = std::net::IpAddr::from([10, 66, 1, 2]);
    let _server = pod.serves(sctp(address, 80));
    outside
        .reaches(sctp(Outside::HOST_V4, 8080))
        .from("pod")
        .seen_as(Outside::V4);
    server.call(
        "/NetworkDriver.RevokeExternalConnectivity",
        &docker::of("n1", "e1"),
    );
    outside.does_not_reach(sctp(Outside::HOST_V4, 8080));
}
