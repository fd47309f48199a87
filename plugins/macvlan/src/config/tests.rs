//! Every key of the three types, right and wrong.

use serde_json::{Value, json};
use wharfline_spec::cni::NetConf;

use super::*;

fn parse(family: Family, keys: Value) -> Result<SubInterfaceConfig, String> {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": family.name(),
        "ipam": {"type": "host-local"}});
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    let conf = NetConf::parse(conf.to_string().as_bytes()).expect("a configuration");
    SubInterfaceConfig::parse(family, &conf).map_err(|e| e.msg)
}

#[test]
fn nothing_said_is_what_the_reference_does() {
    let macvlan = parse(Family::Macvlan, json!({})).expect("parsed");
    assert_eq!(macvlan.parent, None);
    assert_eq!(macvlan.mtu, None);
    assert_eq!(
        macvlan.settings,
        SubInterfaceKind::Macvlan {
            mode: MacvlanMode::Bridge,
            broadcast_queue: None
        }
    );
    let ipvlan = parse(Family::Ipvlan, json!({"mode": ""})).expect("parsed");
    assert_eq!(
        ipvlan.settings,
        SubInterfaceKind::Ipvlan {
            mode: IpvlanMode::L2,
            reach: IpvlanReach::Bridge
        }
    );
}

#[test]
fn every_mode_has_its_word() {
    for (word, mode) in [
        ("bridge", MacvlanMode::Bridge),
        ("private", MacvlanMode::Private),
        ("vepa", MacvlanMode::Vepa),
        ("passthru", MacvlanMode::Passthru),
    ] {
        let config = parse(Family::Macvlan, json!({"mode": word, "bcqueuelen": 2000}));
        let wanted = SubInterfaceKind::Macvlan {
            mode,
            broadcast_queue: Some(2000),
        };
        assert_eq!(config.expect(word).settings, wanted);
    }
    for (word, mode) in [
        ("l2", IpvlanMode::L2),
        ("l3", IpvlanMode::L3),
        ("l3s", IpvlanMode::L3s),
    ] {
        let config = parse(Family::Ipvlan, json!({"mode": word, "flag": "vepa"}));
        let wanted = SubInterfaceKind::Ipvlan {
            mode,
            reach: IpvlanReach::Vepa,
        };
        assert_eq!(config.expect(word).settings, wanted);
    }
}

#[test]
fn what_makes_no_sense_names_its_key() {
    for (family, keys, key) in [
        (Family::Macvlan, json!({"mode": "l2"}), "mode"),
        (Family::Ipvlan, json!({"mode": "bridge"}), "mode"),
        (Family::Ipvlan, json!({"flag": "loud"}), "flag"),
        (Family::Vlan, json!({}), "vlanId"),
        (Family::Vlan, json!({"vlanId": 0}), "vlanId"),
        (Family::Vlan, json!({"vlanId": 4095}), "vlanId"),
        (Family::Vlan, json!({"vlanId": "10"}), "vlanId"),
        (Family::Macvlan, json!({"master": 1}), "master"),
        (Family::Macvlan, json!({"linkInContainer": true}), "master"),
        (Family::Macvlan, json!({"mtu": 70000}), "mtu"),
        (Family::Ipvlan, json!({"hostAccess": true}), "hostAccess"),
        (
            Family::Ipvlan,
            json!({"mode": "l3", "probeAddresses": true}),
            "probeAddresses",
        ),
    ] {
        let refused = parse(family, keys.clone()).expect_err("refused");
        assert!(refused.contains(key), "{keys}: {refused}");
    }
}

#[test]
fn a_parent_with_a_number_behind_a_dot_is_a_vlan() {
    let parent = |name: &str| {
        let config = parse(Family::Macvlan, json!({"master": name})).expect("parsed");
        let parent = config.vlan_parent()?;
        Some((parent.under.to_string(), parent.vlan.get()))
    };
    assert_eq!(parent("eth0.10"), Some(("eth0".to_owned(), 10)));
    assert_eq!(parent("bond0.5.4094"), Some(("bond0.5".to_owned(), 4094)));
    for other in ["eth0", "eth0.", "eth0.0", "eth0.4095", "eth0.x", "eth0.+5"] {
        assert_eq!(parent(other), None, "{other}");
    }
}
