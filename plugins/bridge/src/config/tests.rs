//! Every key: its default, its values, and the refusal that names it.

use serde_json::{Value, json};

use super::*;

const INVALID_CONFIG: u32 = 7;

fn conf(keys: &Value) -> NetConf {
    let mut whole = json!({"cniVersion": "1.0.0", "name": "lab", "type": "bridge"});
    let fields = whole.as_object_mut().expect("an object");
    fields.extend(keys.as_object().expect("keys").clone());
    NetConf::parse(whole.to_string().as_bytes()).expect("a configuration")
}

fn parsed(keys: &Value) -> BridgeConfig {
    BridgeConfig::parse(&conf(keys)).unwrap_or_else(|e| panic!("{keys}: {}", e.msg))
}

fn refusal(keys: &Value) -> CniError {
    BridgeConfig::parse(&conf(keys)).expect_err(&format!("{keys} is refused"))
}

fn assert_refused(keys: &Value, key: &str) {
    let error = refusal(keys);
    assert_eq!(error.code, INVALID_CONFIG, "{keys}: {}", error.msg);
    assert!(error.msg.contains(key), "{keys}: {} names {key}", error.msg);
}

fn vlan(id: u32) -> VlanId {
    VlanId::new(id).expect("a VLAN")
}

fn vlans(ids: &[u32]) -> Vec<VlanId> {
    ids.iter().map(|id| vlan(*id)).collect()
}

#[test]
fn without_keys_it_is_the_references_default() {
    let config = parsed(&json!({}));
    let expected = BridgeConfig::bare(IfName::new("cni0").expect("a name"));
    assert_eq!(config, expected);
    // Go's zero values, which conflists written by programs are full of.
    let zeros = json!({"bridge": "", "mtu": 0, "vlan": 0, "vlanTrunk": null, "ipMasq": false, "ipMasqBackend": "",
        "ipam": {}, "dns": {}, "overflow": ""});
    assert_eq!(parsed(&zeros), expected);
}

#[test]
fn keys_are_found_whatever_their_case() {
    assert!(
        parsed(&json!({"ISGATEWAY": true, "ipmasq": true}))
            .masquerade
            .any()
    );
}

#[test]
fn a_flag_is_true_or_false_and_nothing_else() {
    for key in [
        "isGateway",
        "isDefaultGateway",
        "forceAddress",
        "ipMasq",
        "hairpinMode",
        "promiscMode",
        "preserveDefaultVlan",
        "macspoofchk",
        "enabledad",
        "disableContainerInterface",
        "portIsolation",
        "keepBridge",
    ] {
        for wrong in [json!("true"), json!(1), json!([]), json!({})] {
            assert_refused(&json!({ key: wrong }), key);
        }
        for right in [json!(true), json!(false), json!(null)] {
            parsed(&json!({ key: right }));
        }
    }
}

#[test]
fn a_default_gateway_is_a_gateway() {
    assert!(parsed(&json!({"isDefaultGateway": true})).is_gateway);
}

#[test]
fn the_bridges_name_is_a_links() {
    for wrong in [
        json!(7),
        json!("sixteen-letters-"),
        json!("a/b"),
        json!("a b"),
        json!("."),
        json!("a:b"),
    ] {
        assert_refused(&json!({"bridge": wrong}), "bridge");
    }
    assert_eq!(
        parsed(&json!({"bridge": "fifteen-letters"}))
            .bridge
            .as_str(),
        "fifteen-letters"
    );
}

#[test]
fn an_mtu_is_one_that_ipv4_and_veth_allow() {
    for wrong in [
        json!("1500"),
        json!(-1),
        json!(67),
        json!(65536),
        json!(1.5),
    ] {
        assert_refused(&json!({"mtu": wrong}), "mtu");
    }
    for right in [68, 1500, 65535] {
        assert_eq!(parsed(&json!({"mtu": right})).mtu, Some(right));
    }
}

#[test]
fn a_vlan_is_1_to_4094() {
    for wrong in [json!(-1), json!(4095), json!("7"), json!([7])] {
        assert_refused(&json!({"vlan": wrong}), "vlan");
    }
    assert_eq!(parsed(&json!({"vlan": 4094})).vlan, Some(vlan(4094)));
}

#[test]
fn a_trunk_is_single_vlans_and_ranges_each_once() {
    let trunk = json!([{"id": 9}, {"minID": 7, "maxID": 9}, {"minID": 2, "maxID": 2, "id": 4}]);
    let config = parsed(&json!({"vlanTrunk": trunk}));
    assert_eq!(config.trunk, vlans(&[2, 4, 7, 8, 9]));
}

#[test]
fn a_trunk_that_makes_no_sense_is_refused_by_its_place() {
    for (wrong, key) in [
        (json!(7), "vlanTrunk"),
        (json!([7]), "vlanTrunk[0]"),
        (json!([{}]), "vlanTrunk[0].id"),
        (json!([{"id": 0}]), "vlanTrunk[0].id"),
        (json!([{"id": 4095}]), "vlanTrunk[0].id"),
        (json!([{"id": 1}, {"id": "2"}]), "vlanTrunk[1].id"),
        (json!([{"minID": 2}]), "vlanTrunk[0].maxID"),
        (json!([{"maxID": 2}]), "vlanTrunk[0].minID"),
        (json!([{"minID": 3, "maxID": 2}]), "vlanTrunk[0].minID"),
        (json!([{"minID": 0, "maxID": 2}]), "vlanTrunk[0].minID"),
        (json!([{"minID": 1, "maxID": 4095}]), "vlanTrunk[0].maxID"),
    ] {
        assert_refused(&json!({"vlanTrunk": wrong}), key);
    }
}

#[test]
fn a_trunk_without_vlan_has_the_kernels_own_vlan_for_untagged_frames() {
    let native = |keys: Value| parsed(&keys).native_vlan();
    assert_eq!(native(json!({})), None);
    assert_eq!(native(json!({"vlanTrunk": [{"id": 7}]})), Some(vlan(1)));
    let both = json!({"vlan": 5, "vlanTrunk": [{"id": 7}]});
    assert_eq!(native(both), Some(vlan(5)));
}

#[test]
fn contradictions_are_refused() {
    assert_refused(
        &json!({"hairpinMode": true, "promiscMode": true}),
        "promiscMode",
    );
    assert_refused(
        &json!({"disableContainerInterface": true, "ipam": {"type": "host-local"}}),
        "disableContainerInterface",
    );
    parsed(&json!({"disableContainerInterface": true, "ipam": {}}));
}

#[test]
fn words_are_those_that_are_known() {
    assert_refused(&json!({"overflow": "ptp"}), "overflow");
    assert_refused(&json!({"overflow": true}), "overflow");
    assert_refused(&json!({"ipMasqBackend": "ufw"}), "ipMasqBackend");
    for backend in ["iptables", "nftables"] {
        parsed(&json!({"ipMasqBackend": backend}));
    }
    let none = parsed(&json!({"overflow": "none", "portIsolation": true}));
    assert!(none.overflow == Overflow::None && !none.isolates_members());
}

#[test]
fn the_gateways_link_is_the_bridge_or_its_foot_in_the_vlan() {
    let link = |keys: Value| parsed(&keys).gateway_link().to_string();
    assert_eq!(link(json!({})), "cni0");
    assert_eq!(link(json!({"vlan": 100})), "cni0.100");
    assert_eq!(
        link(json!({"vlan": 100, "bridge": "br-01234567"})),
        "br-01234567.100"
    );
    let derived = link(json!({"vlan": 100, "bridge": "br-012345678"}));
    assert!(
        derived.starts_with("wg") && derived.len() <= 15,
        "{derived}"
    );
}
