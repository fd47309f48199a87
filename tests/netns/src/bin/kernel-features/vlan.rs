//! The VLAN keys of the bridge plugin (feature B7).

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{gateway, host_local, list, with};
use wharfline_netns_tests::{Pod, ours, warm_up};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Feature, Lab, Network, Outside, Plugins};

use super::Case;

const FILTERING: &[Feature] = &[Feature::BridgeVlanFiltering];
const WITH_LINKS: &[Feature] = &[Feature::BridgeVlanFiltering, Feature::VlanLink];

/// The cases.
pub(super) const CASES: [Case; 7] = [
    Case {
        name: "vlan::separates_containers",
        needs: FILTERING,
        run: || separates_containers(&ours()),
    },
    Case {
        name: "vlan::separates_containers_with_the_reference",
        needs: FILTERING,
        run: || separates_containers(&Plugins::reference()),
    },
    Case {
        name: "vlan::the_port_is_untagged_in_its_vlan_alone",
        needs: FILTERING,
        run: the_port_is_untagged_in_its_vlan_alone,
    },
    Case {
        name: "vlan::the_default_vlan_can_be_preserved",
        needs: FILTERING,
        run: the_default_vlan_can_be_preserved,
    },
    Case {
        name: "vlan::a_trunk_carries_tagged_frames",
        needs: WITH_LINKS,
        run: a_trunk_carries_tagged_frames,
    },
    Case {
        name: "vlan::the_gateway_is_in_the_vlan",
        needs: WITH_LINKS,
        run: the_gateway_is_in_the_vlan,
    },
    Case {
        name: "vlan::the_warm_world_returns",
        needs: WITH_LINKS,
        run: the_warm_world_returns,
    },
];

/// A network on the shared bridge without a gateway, with `keys`, its addresses from `first` on.
fn network<'lab>(lab: &'lab Lab, plugins: &Plugins, name: &str, keys: Value) -> Network<'lab> {
    let last = if name == "other" {
        "10.88.0.200"
    } else {
        "10.88.0.100"
    };
    let first = if name == "other" {
        "10.88.0.101"
    } else {
        "10.88.0.10"
    };
    let ipam = json!({"type": "host-local",
        "ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": first, "rangeEnd": last}]]});
    let bridge = with(
        &json!({"type": "bridge", "bridge": "cni0", "ipam": ipam}),
        &keys,
    );
    Network::new(lab, plugins, list(name, json!([bridge])))
}

/// VLAN id and flags of each entry of a bridge port.
fn vlans_of(lab: &Lab, port: &str) -> Vec<(u64, String)> {
    let shown = lab.exec(&["bridge", "-j", "vlan", "show", "dev", port]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON from bridge");
    let entries = shown[0]["vlans"].as_array().cloned().unwrap_or_default();
    let flags = |entry: &Value| {
        entry["flags"].as_array().map_or(String::new(), |f| {
            f.iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    entries
        .iter()
        .map(|entry| (entry["vlan"].as_u64().unwrap_or_default(), flags(entry)))
        .collect()
}

fn separates_containers(plugins: &Plugins) {
    let lab = Lab::new();
    let red = network(&lab, plugins, "red", json!({"vlan": 100}));
    let other = network(&lab, plugins, "other", json!({"vlan": 200}));
    let (a, b, c) = (Pod::on(&red, "a"), Pod::on(&red, "b"), Pod::on(&other, "c"));
    let _servers = [a.serves(tcp(a.v4(), 80)), c.serves(tcp(c.v4(), 80))];
    b.reaches(tcp(a.v4(), 80)).from("a").seen_as(b.v4());
    b.does_not_reach(tcp(c.v4(), 80));
    c.does_not_reach(tcp(a.v4(), 80));
}

fn the_port_is_untagged_in_its_vlan_alone() {
    let lab = Lab::new();
    let pod = Pod::on(
        &network(
            &lab,
            &ours(),
            "red",
            json!({"vlan": 100, "preserveDefaultVlan": false}),
        ),
        "pod",
    );
    assert_eq!(
        vlans_of(&lab, &pod.host_end()),
        [(100, "PVID Egress Untagged".to_owned())]
    );
}

fn the_default_vlan_can_be_preserved() {
    let lab = Lab::new();
    let pod = Pod::on(
        &network(
            &lab,
            &ours(),
            "red",
            json!({"vlan": 100, "preserveDefaultVlan": true}),
        ),
        "pod",
    );
    let vlans = vlans_of(&lab, &pod.host_end());
    assert!(vlans.iter().any(|(id, _)| *id == 1), "{vlans:?}");
    assert!(
        vlans
            .iter()
            .any(|(id, flags)| *id == 100 && flags.contains("PVID")),
        "{vlans:?}"
    );
}

fn a_trunk_carries_tagged_frames() {
    let lab = Lab::new();
    let trunk = json!({"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 202}], "preserveDefaultVlan": false});
    let trunk = Pod::on(&network(&lab, &ours(), "red", trunk), "trunk");
    let ids: Vec<_> = vlans_of(&lab, &trunk.host_end())
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    // Untagged frames stay in VLAN 1, as with the reference: a trunk without `vlan` takes nothing away.
    assert_eq!(ids, [1, 101, 200, 201, 202]);
    let member = Pod::on(
        &network(&lab, &ours(), "other", json!({"vlan": 201})),
        "member",
    );
    trunk.ip("link add link eth0 name eth0.201 type vlan id 201\naddr flush dev eth0");
    trunk.ip("addr add 10.88.0.77/24 dev eth0.201\nlink set eth0.201 up");
    let _web = member.serves(tcp(member.v4(), 80));
    trunk
        .reaches(tcp(member.v4(), 80))
        .from("member")
        .seen_as([10, 88, 0, 77]);
}

fn tagged_gateway() -> Value {
    let keys = json!({"vlan": 100, "ipMasq": true});
    list(
        "red",
        json!([with(&gateway(&host_local("10.88.0.0/24")), &keys)]),
    )
}

fn the_gateway_is_in_the_vlan() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(&lab, &ours(), tagged_gateway());
    let pod = Pod::on(&network, "pod");
    let world = lab.world();
    assert!(
        world
            .objects("host address cni0.100 family inet local 10.88.0.1")
            .next()
            .is_some()
    );
    assert!(
        world
            .objects("host address cni0 family inet ")
            .next()
            .is_none()
    );
    let _near = lab.host().serves(tcp([10, 88, 0, 1], 80));
    let _far = outside.serves(tcp(Outside::FAR_V4, 80));
    pod.reaches(tcp([10, 88, 0, 1], 80)).from("host");
    pod.reaches(tcp(Outside::FAR_V4, 80))
        .from("outside")
        .seen_as(Outside::HOST_V4);
    network
        .check(&pod.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    lab.exec(&[
        "bridge",
        "vlan",
        "del",
        "dev",
        &pod.host_end(),
        "vid",
        "100",
    ]);
    let failed = network
        .check(&pod.attachment)
        .expect_err("CHECK after the VLAN was taken off the port");
    assert!(failed.failed().contains("100"), "{failed}");
}

fn the_warm_world_returns() {
    let lab = Lab::new();
    let network = Network::new(&lab, &ours(), tagged_gateway());
    warm_up(&lab, &network);
    let warm = lab.world();
    let pod = Pod::on(&network, "pod");
    let attachment: Attachment = pod.attachment.without_netns();
    drop(pod);
    network.del(&attachment);
    warm.returns("the warm world", || lab.world());
}
