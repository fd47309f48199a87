//! Sub-interfaces that not every kernel can make: VLANs as parents (feature M2), and the types vlan and ipvlan.

use serde_json::{Value, json};
use wharfline_netns_tests::docker::{Container, Server, of};
use wharfline_netns_tests::lists::{list, with};
use wharfline_netns_tests::{Pod, Segment, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Feature, Lab, Namespace, Network, Plugins, Verb};

use super::Case;

const VLAN: &[Feature] = &[Feature::VlanLink];
const IPVLAN: &[Feature] = &[Feature::IpvlanLink];

/// The cases.
pub(super) const CASES: [Case; 12] = [
    Case {
        name: "sub_interfaces::a_vlan_parent_goes_with_its_last_network",
        needs: VLAN,
        run: a_vlan_parent_goes_with_its_last_network,
    },
    Case {
        name: "sub_interfaces::a_vlan_parent_that_was_there_stays",
        needs: VLAN,
        run: a_vlan_parent_that_was_there_stays,
    },
    Case {
        name: "sub_interfaces::vlan",
        needs: VLAN,
        run: || vlan(&ours()),
    },
    Case {
        name: "sub_interfaces::vlan_with_the_reference",
        needs: VLAN,
        run: || vlan(&Plugins::reference()),
    },
    Case {
        name: "sub_interfaces::a_vlan_has_one_interface",
        needs: VLAN,
        run: a_vlan_has_one_interface,
    },
    Case {
        name: "sub_interfaces::ipvlan_modes",
        needs: IPVLAN,
        run: || ipvlan_modes(&ours()),
    },
    Case {
        name: "sub_interfaces::ipvlan_modes_with_the_reference",
        needs: IPVLAN,
        run: || ipvlan_modes(&Plugins::reference()),
    },
    Case {
        name: "sub_interfaces::an_address_that_somebody_has_is_refused_to_an_ipvlan",
        needs: IPVLAN,
        run: an_address_that_somebody_has_is_refused_to_an_ipvlan,
    },
    Case {
        name: "sub_interfaces::docker_on_a_vlan_parent",
        needs: VLAN,
        run: docker_on_a_vlan_parent,
    },
    Case {
        name: "sub_interfaces::docker_ipvlan",
        needs: IPVLAN,
        run: docker_ipvlan,
    },
    Case {
        name: "sub_interfaces::docker_ipvlan_without_a_parent",
        needs: IPVLAN,
        run: docker_ipvlan_without_a_parent,
    },
    Case {
        name: "sub_interfaces::what_the_kernel_lacks_is_named",
        needs: &[],
        run: what_the_kernel_lacks_is_named,
    },
];

/// A network of one plugin with `keys` put over the usual ones.
fn network<'lab>(lab: &'lab Lab, plugins: &Plugins, name: &str, keys: &Value) -> Network<'lab> {
    let plugin = with(&Segment::plugin("macvlan"), keys);
    Network::new(lab, plugins, list(name, json!([plugin])))
}

fn has_link(lab: &Lab, name: &str) -> bool {
    lab.host()
        .try_exec(&["ip", "link", "show", "dev", name], "")
        .succeeded()
}

/// A host on the segment that speaks VLAN 10, tagged.
fn tagged_host(lab: &Lab, segment: &Segment) -> Namespace {
    let host = segment.host(lab, "tagged", "02:00:00:00:00:50", &[]);
    host.ip("link add link eth0 name eth0.10 type vlan id 10
         addr add 192.0.2.50/24 dev eth0.10
         link set eth0.10 up");
    host
}

fn a_vlan_parent_goes_with_its_last_network() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let tagged = tagged_host(&lab, &segment);
    let keys = json!({"master": "eth0.10"});
    let [one, other] = ["one", "other"].map(|name| network(&lab, &ours(), name, &keys));
    warm_up(&lab, &one);
    warm_up(&lab, &other);
    let warm = lab.world();
    assert!(!has_link(&lab, "eth0.10"));
    let of_one = Pod::on(&one, "a");
    let of_other = lab.namespace("b");
    let attachment = Attachment::of(&of_other);
    let range = json!({"ipam": {"type": "host-local", "ranges": [[{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.200"}]]}});
    let other = network(&lab, &ours(), "other", &with(&keys, &range));
    other.add(&attachment);
    let _server = of_one.serves(tcp(of_one.v4(), 80));
    tagged.reaches(tcp(of_one.v4(), 80)).from("a");
    segment.does_not_reach(tcp(of_one.v4(), 80));
    one.check(&of_one.attachment).expect("CHECK");
    one.del(&of_one.attachment);
    assert!(has_link(&lab, "eth0.10"), "the other network stands on it");
    other.check(&attachment).expect("CHECK");
    other.del(&attachment);
    assert!(!has_link(&lab, "eth0.10"));
    drop((of_one, of_other));
    warm.returns("the warm world", || lab.world());
}

fn a_vlan_parent_that_was_there_stays() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    lab.host()
        .ip("link add link eth0 name eth0.10 type vlan id 10\nlink set eth0.10 up");
    let network = network(&lab, &ours(), "net", &json!({"master": "eth0.10"}));
    let pod = Pod::on(&network, "pod");
    network.del(&pod.attachment);
    assert!(has_link(&lab, "eth0.10"));
}

fn vlan(plugins: &Plugins) {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let tagged = tagged_host(&lab, &segment);
    let network = network(&lab, plugins, "net", &json!({"type": "vlan", "vlanId": 10}));
    warm_up(&lab, &network);
    let warm = lab.world();
    let pod = Pod::on(&network, "pod");
    let _server = pod.serves(tcp(pod.v4(), 80));
    tagged.reaches(tcp(pod.v4(), 80)).from("pod");
    segment.does_not_reach(tcp(pod.v4(), 80));
    network.check(&pod.attachment).expect("CHECK");
    network.del(&pod.attachment);
    drop(pod);
    warm.returns("the warm world", || lab.world());
}

fn a_vlan_has_one_interface() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let network = network(&lab, &ours(), "net", &json!({"type": "vlan", "vlanId": 10}));
    let _first = Pod::on(&network, "first");
    let second = lab.namespace("second");
    let refused = network
        .call(Verb::Add, 0, &Attachment::of(&second), None)
        .make(&lab)
        .failed();
    assert!(
        refused.contains("vlanId") && refused.contains("eth0"),
        "{refused}"
    );
}

fn ipvlan_modes(plugins: &Plugins) {
    for mode in ["l2", "l3", "l3s"] {
        let lab = Lab::new();
        let segment = Segment::around(&lab);
        let network = network(
            &lab,
            plugins,
            "net",
            &json!({"type": "ipvlan", "mode": mode}),
        );
        warm_up(&lab, &network);
        let warm = lab.world();
        let [a, b] = ["a", "b"].map(|name| Pod::on(&network, name));
        let _server = b.serves(tcp(b.v4(), 80));
        a.reaches(tcp(b.v4(), 80)).from("b");
        if mode != "l2" {
            // At layer 3 nobody answers ARP for the container: the segment needs a route.
            segment.ip(&format!("route add {}/32 via {}", b.v4(), Segment::HOST_V4));
        }
        segment.reaches(tcp(b.v4(), 80)).from("b");
        for pod in [a, b] {
            network.check(&pod.attachment).expect("CHECK");
            network.del(&pod.attachment);
        }
        warm.returns("the warm world", || lab.world());
    }
}

fn an_address_that_somebody_has_is_refused_to_an_ipvlan() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let keys = json!({"type": "ipvlan", "probeAddresses": true});
    let network = network(&lab, &ours(), "net", &keys);
    let taken = [
        ("other4", "02:00:00:00:00:40", "192.0.2.100"),
        ("other6", "02:00:00:00:00:41", "2001:db8:2::100"),
    ];
    for (name, mac, address) in taken {
        let prefix = if address.contains(':') { 64 } else { 24 };
        let other = segment.host(&lab, name, mac, &[&format!("{address}/{prefix}")]);
        let pod = lab.namespace(&format!("pod-{name}"));
        let add = network.call(Verb::Add, 0, &Attachment::of(&pod), None);
        let told = add.make(&lab).failed();
        assert!(told.contains(address) && told.contains(mac), "{told}");
        // The kernel takes its time to dissolve a namespace.
        other.ip("link set eth0 down");
        lab.exec(&["rm", "-rf", "/var/lib/cni/networks/net"]);
    }
    let pod = Pod::on(&network, "pod");
    let _server = pod.serves(tcp(pod.v4(), 80));
    segment.reaches(tcp(pod.v4(), 80)).from("pod");
}

const CREATE: &str = "/NetworkDriver.CreateNetwork";
const DELETE: &str = "/NetworkDriver.DeleteNetwork";

/// The body of a CreateNetwork of both families, as dockerd sends it.
fn docker_network(id: &str, options: Value) -> Value {
    json!({"NetworkID": id, "Options": {"com.docker.network.generic": options},
        "IPv4Data": [{"AddressSpace": "s", "Pool": "192.0.2.0/24", "Gateway": "192.0.2.1/24"}],
        "IPv6Data": [{"AddressSpace": "s", "Pool": "2001:db8:2::/64", "Gateway": "2001:db8:2::1/64"}]})
}

fn docker_on_a_vlan_parent() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let tagged = tagged_host(&lab, &segment);
    let server = Server::start(&lab, "macvlan");
    for id in ["n1", "n2"] {
        server.call(CREATE, &docker_network(id, json!({"parent": "eth0.10"})));
    }
    assert!(has_link(&lab, "eth0.10"), "it comes with the network");
    let a = Container::run(&lab, &server, "n1", "a", 100);
    let b = Container::run(&lab, &server, "n2", "b", 101);
    let _server = a.namespace.serves(tcp(a.v4, 80));
    tagged.reaches(tcp(a.v4, 80)).from("a");
    b.namespace.reaches(tcp(a.v4, 80)).from("a");
    segment.does_not_reach(tcp(a.v4, 80));
    b.stop(&lab, &server);
    server.call(DELETE, &of("n2", "-"));
    assert!(has_link(&lab, "eth0.10"), "the other network stands on it");
    a.stop(&lab, &server);
    let of_cni = network(&lab, &ours(), "net", &json!({"master": "eth0.10"}));
    let pod = Pod::on(&of_cni, "pod");
    of_cni.del(&pod.attachment);
    assert!(has_link(&lab, "eth0.10"), "a network without containers");
    server.call(DELETE, &of("n1", "-"));
    assert!(!has_link(&lab, "eth0.10"));
}

fn docker_ipvlan() {
    let lab = Lab::new();
    let segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    for (id, mode) in [("n1", "l2"), ("n2", "l3"), ("n3", "l3s")] {
        let options = json!({"parent": "eth0", "ipvlan_mode": mode});
        server.call(CREATE, &docker_network(id, options));
        let [a, b] = [("a", 100), ("b", 101)]
            .map(|(name, n)| Container::run(&lab, &server, id, &format!("{mode}{name}"), n));
        let name = b.namespace.name().to_owned();
        let _server = b.namespace.serves(tcp(b.v4, 80));
        a.namespace.reaches(tcp(b.v4, 80)).from(&name);
        if mode == "l2" {
            segment.reaches(tcp(b.v4, 80)).from(&name);
        }
        let asked = json!({"parent": "eth0"});
        let told = server.refused(CREATE, &docker_network("n9", asked));
        assert!(told.contains("ipvlan"), "{told}");
        a.stop(&lab, &server);
        b.stop(&lab, &server);
        server.call(DELETE, &of(id, "-"));
    }
}

fn docker_ipvlan_without_a_parent() {
    let lab = Lab::new();
    let server = Server::start(&lab, "macvlan");
    server.call(CREATE, &docker_network("n1", json!({"ipvlan_mode": "l2"})));
    let [a, b] = [("a", 100), ("b", 101)].map(|(id, n)| Container::run(&lab, &server, "n1", id, n));
    let _server = b.namespace.serves(tcp(b.v4, 80));
    a.namespace.reaches(tcp(b.v4, 80)).from("b");
    a.stop(&lab, &server);
    b.stop(&lab, &server);
    server.call(DELETE, &of("n1", "-"));
    assert!(
        !lab.exec(&["ip", "-o", "link"]).contains(": wi"),
        "its parent goes"
    );
}

fn what_the_kernel_lacks_is_named() {
    let lab = Lab::new();
    let _segment = Segment::around(&lab);
    let server = Server::start(&lab, "macvlan");
    let on_vlan = json!({"parent": "eth0.10"});
    let ipvlan = json!({"parent": "eth0", "ipvlan_mode": "l2"});
    for (kind, feature, keys, options) in [
        ("vlan", Feature::VlanLink, json!({"vlanId": 10}), on_vlan),
        ("ipvlan", Feature::IpvlanLink, json!({}), ipvlan),
    ] {
        let plugin = with(&Segment::plugin(kind), &keys);
        let current = json!({"cniVersion": "1.1.0", "name": kind, "plugins": [plugin]});
        let network = Network::new(&lab, &ours(), current);
        let pod = lab.namespace(&format!("pod-{kind}"));
        let add = network
            .call(Verb::Add, 0, &Attachment::of(&pod), None)
            .make(&lab);
        let status = network.status(0);
        if feature.is_here() {
            add.ok();
            assert!(status.succeeded());
            continue;
        }
        let docker = server.refused(CREATE, &docker_network(kind, options));
        for told in [add.failed(), status.failed(), docker] {
            assert!(told.contains(&format!("no {kind} links")), "{told}");
        }
    }
}
