//! GC collects what is this network's and nobody's any more, and nothing else.

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{current, list, masquerading, port, portmap, ports};
use wharfline_netns_tests::{Pod, ours};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Network, Outside, Verb};

/// A network on the shared bridge, with its share of the subnet.
fn sharing<'lab>(lab: &'lab Lab, name: &str, first: &str, last: &str) -> Network<'lab> {
    let ipam = json!({"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": first, "rangeEnd": last, "gateway": "10.88.0.1"}]]});
    Network::new(
        lab,
        &ours(),
        current(list(name, json!([masquerading(&ipam), portmap()]))),
    )
}

#[test]
fn two_lists_on_one_bridge_and_one_lease_directory_collect_only_their_own() {
    let lab = Lab::new();
    let outside = lab.outside();
    let one = sharing(&lab, "one", "10.88.0.10", "10.88.0.19")
        .with_runtime(ports(&[port("tcp", 8081, 80)]));
    let two = sharing(&lab, "two", "10.88.0.20", "10.88.0.29")
        .with_runtime(ports(&[port("tcp", 8082, 80)]));
    let (a, b) = (Pod::on(&one, "a"), Pod::on(&two, "b"));
    let _web = b.serves(tcp(b.v4(), 80));
    let before = lab.world();
    two.gc(&[&b.attachment]);
    one.gc(&[&a.attachment]);
    assert!(
        before.difference(&lab.world()).is_empty(),
        "{}",
        before.difference(&lab.world())
    );

    one.gc(&[]);
    let gone = before.difference(&lab.world());
    assert!(
        gone.mentions("/networks/one/10.88.0.10") && gone.mentions("8081"),
        "{gone}"
    );
    assert!(
        !gone.mentions("/networks/two/") && !gone.mentions("8082"),
        "{gone}"
    );
    outside.reaches(tcp(Outside::HOST_V4, 8082)).from("b");
    two.check(&b.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn what_gc_collects_leaves_the_world_of_those_who_stay() {
    let lab = Lab::new();
    let network = sharing(&lab, "net", "10.88.0.10", "10.88.0.99");
    let stays = Pod::on(
        &network.with_runtime(ports(&[port("tcp", 8080, 80)])),
        "stays",
    );
    let second = Pod::on(&network, "warm");
    network.del(&second.attachment);
    drop(second);
    let before = lab.world();
    for n in 0..5 {
        let name = format!("gone{n}");
        drop(Pod::on(
            &network.with_runtime(ports(&[port("udp", 5300 + n, 53)])),
            &name,
        ));
    }
    network.gc(&[&stays.attachment]);
    before.returns("the world of the container that stays", || lab.world());
}

#[test]
fn leases_of_the_packaged_macvlan_outlive_every_gc_of_bridge() {
    let lab = Lab::new();
    let _outside = lab.outside();
    let plugins = ours().with_reference();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]});
    let macvlan = json!({"type": "macvlan", "master": "uplink0", "ipam": ipam});
    let macvlan = Network::new(&lab, &plugins, list("direct", json!([macvlan])));
    let bridge = json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam});
    let bridge = Network::new(&lab, &plugins, current(list("bridged", json!([bridge]))));
    let (direct, bridged) = (Pod::on(&macvlan, "direct"), Pod::on(&bridge, "bridged"));
    let leases = || -> Vec<String> {
        let world = lab.world();
        world
            .objects("file /var/lib/cni/networks/")
            .filter(|f| f.contains("/10.77."))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(leases().len(), 2);
    bridge.gc(&[&bridged.attachment]);
    assert_eq!(leases().len(), 2);
    bridge.gc(&[]);
    let left = leases();
    assert!(left.len() == 1 && left[0].contains("/direct/"), "{left:?}");
    macvlan
        .check(&direct.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    macvlan.del(&direct.attachment);
    assert!(leases().is_empty());
}

#[test]
fn gc_says_what_is_wrong_with_its_list() {
    let lab = Lab::new();
    let network = sharing(&lab, "net", "10.88.0.10", "10.88.0.19");
    let pod = Pod::on(&network, "pod");
    let before = lab.world();
    for valid in [
        json!("all"),
        json!([{"containerID": 7}]),
        json!([{"ifname": "eth0"}]),
        json!({"a": 1}),
    ] {
        for step in 0..network.steps() {
            let outcome = network.of_network(Verb::Gc, step, &valid).make(&lab);
            let told = outcome.failed();
            assert!(told.contains("valid-attachments"), "{valid}: {told}");
        }
    }
    assert!(before.difference(&lab.world()).is_empty());
    drop(pod);
}

#[test]
fn gc_goes_on_past_what_it_cannot_collect_and_reports_it() {
    let lab = Lab::new();
    let network = sharing(&lab, "net", "10.88.0.10", "10.88.0.19");
    let pods: Vec<_> = ["a", "b"].map(|name| Pod::on(&network, name)).into();
    let leases = "/var/lib/cni/networks/net";
    lab.enter(|| {
        // Where the first lease was now is a directory, which no unlink removes.
        std::fs::remove_file(format!("{leases}/10.88.0.10")).expect("remove a lease");
        std::fs::create_dir_all(format!("{leases}/10.88.0.10/inside")).expect("make a directory");
    });
    drop(pods);
    network
        .of_network(Verb::Gc, 0, &Value::Array(Vec::new()))
        .make(&lab);
    let world = lab.world();
    assert_eq!(
        world.state(&format!("file {leases}/10.88.0.11")),
        None,
        "the second lease was not collected"
    );
}

#[test]
fn an_interface_of_a_container_is_collected_without_its_sibling() {
    let lab = Lab::new();
    let network = sharing(&lab, "net", "10.88.0.10", "10.88.0.19");
    let pod = Pod::on(&network, "pod");
    let second: Attachment = pod.attachment.clone().named("eth1");
    network.add(&second);
    network.gc(&[&second]);
    let links = lab.world_with(&[&pod]);
    let links: Vec<_> = links.objects("pod link ").collect();
    assert_eq!(links, ["pod link eth1", "pod link lo"]);
    let world = lab.world();
    let leases: Vec<_> = world
        .objects("file /var/lib/cni/networks/net/10.")
        .collect();
    assert_eq!(leases.len(), 1, "{leases:?}");
}
