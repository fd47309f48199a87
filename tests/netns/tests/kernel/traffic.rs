//! Packets between containers, the host and the outside, over the bridge plugin.

use serde_json::json;
use wharfline_netns_tests::lists::{self, gateway, host_local, list, masquerading, with};
use wharfline_netns_tests::{Pod, conformance};
use wharfline_testkit::traffic::{tcp, udp};
use wharfline_testkit::{Lab, Network, Outside};

conformance! {
    fn containers_reach_each_other_with_their_own_addresses(plugins) {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, lists::published());
        let (a, b) = (Pod::on(&network, "a"), Pod::on(&network, "b"));
        let servers = [tcp(a.v4(), 80), udp(a.v4(), 53), tcp(a.v6(), 80), udp(a.v6(), 53)].map(|s| a.serves(s));
        for server in &servers[..2] {
            b.reaches(server.service()).from("a").seen_as(b.v4());
        }
        for server in &servers[2..] {
            b.reaches(server.service()).from("a").seen_as(b.v6());
        }
    }

    fn the_host_and_a_container_reach_each_other(plugins) {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, lists::published());
        let pod = Pod::on(&network, "pod");
        let gateway4: std::net::IpAddr = "10.88.0.1".parse().expect("an address");
        let gateway6: std::net::IpAddr = "fd00:88::1".parse().expect("an address");
        let servers = [tcp(pod.v4(), 80), tcp(pod.v6(), 80)].map(|s| pod.serves(s));
        lab.host().reaches(servers[0].service()).from("pod").seen_as(gateway4);
        // Which source the host takes is left open: the gateway's address may be tentative for another second.
        lab.host().reaches(servers[1].service()).from("pod");
        let _on_host = [tcp(gateway4, 8000), tcp(gateway6, 8000)].map(|s| lab.host().serves(s));
        pod.reaches(tcp(gateway4, 8000)).from("host").seen_as(pod.v4());
        pod.reaches(tcp(gateway6, 8000)).from("host").seen_as(pod.v6());
    }

    fn egress_is_masqueraded_as_the_hosts_address(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        let network = Network::new(&lab, plugins, lists::published());
        let pod = Pod::on(&network, "pod");
        let services = [
            tcp(Outside::FAR_V4, 80), udp(Outside::FAR_V4, 53), tcp(Outside::FAR_V6, 80), udp(Outside::FAR_V6, 53),
        ];
        let _servers = services.map(|s| outside.serves(s));
        pod.reaches(services[0]).from("outside").seen_as(Outside::HOST_V4);
        pod.reaches(services[1]).from("outside").seen_as(Outside::HOST_V4);
        pod.reaches(services[2]).from("outside").seen_as(Outside::HOST_V6);
        pod.reaches(services[3]).from("outside").seen_as(Outside::HOST_V6);
    }

    fn without_masquerade_a_routed_peer_sees_the_containers_address(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        outside.learns_route_to("10.88.0.0/24");
        let network = Network::new(&lab, plugins, lists::plain());
        let pod = Pod::on(&network, "pod");
        let _far = outside.serves(tcp(Outside::FAR_V4, 80));
        pod.reaches(tcp(Outside::FAR_V4, 80)).from("outside").seen_as(pod.v4());
        // Kubernetes reaches pods from other nodes at ports that nobody published.
        let _web = pod.serves(tcp(pod.v4(), 9090));
        outside.reaches(tcp(pod.v4(), 9090)).from("pod").seen_as(Outside::V4);
    }

    fn a_second_networks_containers_are_reached_over_the_host(plugins) {
        let lab = Lab::new();
        let one = Network::new(&lab, plugins, lists::plain());
        let bridge = with(&gateway(&host_local("10.89.0.0/24")), &json!({"bridge": "cni1"}));
        let other = Network::new(&lab, plugins, list("other", json!([bridge])));
        let (a, b) = (Pod::on(&one, "a"), Pod::on(&other, "b"));
        let _web = b.serves(tcp(b.v4(), 80));
        a.reaches(tcp(b.v4(), 80)).from("b").seen_as(a.v4());
    }

    fn masquerade_leaves_traffic_inside_the_subnet_alone(plugins) {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, list("net", json!([masquerading(&host_local("10.88.0.0/24"))])));
        let (a, b) = (Pod::on(&network, "a"), Pod::on(&network, "b"));
        // Bridged frames pass the IP hooks here: br_netfilter is as dockerd sets it.
        lab.host().set_sysctl("net/bridge/bridge-nf-call-iptables", "1");
        let _web = b.serves(tcp(b.v4(), 80));
        a.reaches(tcp(b.v4(), 80)).from("b").seen_as(a.v4());
    }

    fn a_container_without_a_gateway_stays_on_its_bridge(plugins) {
        let lab = Lab::new();
        let outside = lab.outside();
        outside.learns_route_to("10.88.0.0/24");
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
        let plain = json!([{"type": "bridge", "bridge": "cni0", "ipam": ipam}]);
        let network = Network::new(&lab, plugins, list("closed", plain));
        let (a, b) = (Pod::on(&network, "a"), Pod::on(&network, "b"));
        let _web = a.serves(tcp(a.v4(), 80));
        b.reaches(tcp(a.v4(), 80)).from("a").seen_as(b.v4());
        lab.host().does_not_reach(tcp(a.v4(), 80));
        let _far = outside.serves(tcp(Outside::FAR_V4, 80));
        a.does_not_reach(tcp(Outside::FAR_V4, 80));
    }
}
