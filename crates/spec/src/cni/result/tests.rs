use super::*;
use crate::cni::Version;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A result with everything that the newest version can say.
fn rich() -> CniResult {
    CniResult {
        interfaces: vec![
            Interface {
                name: "cni0".into(),
                mac: "8e:04:6e:e1:4c:b1".parse().ok(),
                ..Interface::default()
            },
            Interface {
                name: "eth0".into(),
                mac: "36:01:ef:5a:56:85".parse().ok(),
                mtu: Some(1450),
                sandbox: Some("/run/netns/a".into()),
                socket_path: Some("/run/vhost.sock".into()),
                pci_id: Some("0000:00:1f.6".into()),
                ..Interface::default()
            },
        ],
        ips: vec![
            ip("10.22.0.3/16", Some("10.22.0.1"), Some(1)),
            ip("10.22.0.4/16", None, Some(1)),
            ip("fd00:22::3/64", Some("fd00:22::1"), Some(1)),
        ],
        routes: vec![
            Route::new("0.0.0.0/0".parse().unwrap(), None),
            Route {
                mtu: Some(1400),
                advmss: Some(1360),
                priority: Some(100),
                table: Some(51),
                scope: Some(0),
                ..Route::new("192.168.0.0/16".parse().unwrap(), "10.22.0.9".parse().ok())
            },
            Route::new("::/0".parse().unwrap(), None),
        ],
        dns: Dns {
            nameservers: vec!["10.22.0.1".into()],
            domain: Some("lab".into()),
            search: vec!["svc.lab".into()],
            options: vec!["ndots:5".into()],
        },
    }
}

fn ip(address: &str, gateway: Option<&str>, interface: Option<usize>) -> IpConfig {
    let gateway = gateway.map(|g| g.parse().unwrap());
    IpConfig {
        interface,
        address: super::address(address).unwrap(),
        gateway,
    }
}

fn golden(version: Version) -> Value {
    let dns = json!({"nameservers": ["10.22.0.1"], "domain": "lab", "search": ["svc.lab"], "options": ["ndots:5"]});
    if version <= Version::V0_2_0 {
        return json!({
            "cniVersion": version.as_str(),
            "ip4": {
                "ip": "10.22.0.3/16",
                "gateway": "10.22.0.1",
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}],
            },
            "ip6": {"ip": "fd00:22::3/64", "gateway": "fd00:22::1", "routes": [{"dst": "::/0"}]},
            "dns": dns,
        });
    }
    let mut doc = json!({
        "cniVersion": version.as_str(),
        "interfaces": [
            {"name": "cni0", "mac": "8e:04:6e:e1:4c:b1"},
            {"name": "eth0", "mac": "36:01:ef:5a:56:85", "sandbox": "/run/netns/a"},
        ],
        "ips": [
            {"interface": 1, "address": "10.22.0.3/16", "gateway": "10.22.0.1"},
            {"interface": 1, "address": "10.22.0.4/16"},
            {"interface": 1, "address": "fd00:22::3/64", "gateway": "fd00:22::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}, {"dst": "::/0"}],
        "dns": dns,
    });
    if version < Version::V1_0_0 {
        for (place, family) in ["4", "4", "6"].into_iter().enumerate() {
            doc["ips"][place]["version"] = family.into();
        }
    }
    if version >= Version::V1_1_0 {
        doc["interfaces"][1]["mtu"] = 1450.into();
        doc["interfaces"][1]["socketPath"] = "/run/vhost.sock".into();
        doc["interfaces"][1]["pciID"] = "0000:00:1f.6".into();
        doc["routes"][1] = json!({
            "dst": "192.168.0.0/16", "gw": "10.22.0.9",
            "mtu": 1400, "advmss": 1360, "priority": 100, "table": 51, "scope": 0,
        });
    }
    doc
}

#[test]
fn every_version_is_written_in_its_own_form() {
    for version in Version::ALL {
        assert_eq!(rich().to_json(version), golden(version), "{version}");
    }
}

#[test]
fn every_version_reads_back_as_what_it_can_hold() {
    assert_eq!(
        CniResult::from_json(&golden(Version::NEWEST)).unwrap(),
        rich()
    );
    for version in Version::ALL {
        let read = CniResult::from_json(&golden(version)).unwrap();
        // Nothing that the version holds is lost: it writes the same again, and so does every other
        // version that holds less.
        for lower in Version::ALL.into_iter().filter(|v| *v <= version) {
            assert_eq!(
                read.to_json(lower),
                golden(lower),
                "{version} written as {lower}"
            );
        }
    }
}

#[test]
fn a_result_without_addresses_is_written_in_every_version() {
    for version in Version::ALL {
        assert_eq!(
            CniResult::default().to_json(version),
            json!({"cniVersion": version.as_str()})
        );
    }
}

#[test]
fn a_document_without_a_version_is_0_1_0_unless_its_place_says_otherwise() {
    let old = json!({"ip4": {"ip": "10.0.0.2/24"}});
    assert_eq!(
        CniResult::from_json(&old).unwrap().ips,
        [ip("10.0.0.2/24", None, None)]
    );
    let new = json!({"ips": [{"address": "10.0.0.2/24"}]});
    let read = CniResult::from_json_at(&new, "prevResult", Version::V1_0_0).unwrap();
    assert_eq!(read.ips, [ip("10.0.0.2/24", None, None)]);
}

#[test]
fn what_go_leaves_empty_counts_as_absent() {
    let doc = json!({
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "eth0", "mac": "", "sandbox": ""}],
        "ips": [{"version": "4", "interface": -1, "address": "10.0.0.2/24", "gateway": ""}],
        "routes": null,
        "dns": {},
    });
    let read = CniResult::from_json(&doc).unwrap();
    assert_eq!(
        read.interfaces,
        [Interface {
            name: "eth0".into(),
            ..Interface::default()
        }]
    );
    assert_eq!(read.ips, [ip("10.0.0.2/24", None, None)]);
    assert!(read.routes.is_empty() && read.dns.is_empty());
}

#[test]
fn an_infiniband_address_passes_through() {
    let mac = "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:8d:2c:71";
    let doc = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "ib0", "mac": mac}]});
    assert_eq!(
        CniResult::from_json(&doc).unwrap().to_json(Version::V1_0_0),
        doc
    );
}

#[test]
fn a_refusal_names_the_key() {
    let cases = [
        (
            json!({"cniVersion": "9.0.0"}),
            "cniVersion: \"9.0.0\": no CNI specification has the version \"9.0.0\"",
        ),
        (
            json!({"cniVersion": "1.0.0", "ips": [{}]}),
            "ips[0].address: is missing",
        ),
        (
            json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1"}]}),
            "ips[0].address: \"10.0.0.1\" is not address/prefix",
        ),
        (
            json!({"cniVersion": "1.0.0", "ips": {}}),
            "ips: expected a list, found {}",
        ),
        (
            json!({"cniVersion": "1.0.0", "interfaces": [{"mac": "x"}]}),
            "interfaces[0].mac: \"x\" is not a hardware address",
        ),
        (
            json!({"cniVersion": "1.1.0", "routes": [{"dst": "::/0", "scope": 300}]}),
            "routes[0].scope: 300 is too large",
        ),
        (
            json!({"cniVersion": "0.2.0", "ip4": {"ip": "::/129"}}),
            "ip4.ip: \"::/129\" is not address/prefix",
        ),
        (json!([1]), "the document: expected an object, found [1]"),
    ];
    for (doc, expected) in cases {
        assert_eq!(
            CniResult::from_json(&doc).unwrap_err().to_string(),
            expected
        );
    }
}

#[test]
fn an_address_needs_a_decimal_prefix_length() {
    for bad in [
        "10.0.0.1",
        "10.0.0.1/",
        "10.0.0.1/33",
        "10.0.0.1/255.0.0.0",
        "10.0.0.1/+8",
        "x/8",
        "/8",
        "",
    ] {
        assert_eq!(super::address(bad), None, "{bad:?}");
    }
    assert_eq!(
        super::address("10.0.0.1/8").unwrap().to_string(),
        "10.0.0.1/8"
    );
}

fn any_address() -> impl Strategy<Value = ipnetwork::IpNetwork> {
    let v4 = (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(a, p)| (std::net::IpAddr::from(a), p));
    let v6 = (any::<[u8; 16]>(), 0_u8..=128).prop_map(|(a, p)| (std::net::IpAddr::from(a), p));
    prop_oneof![v4, v6].prop_map(|(a, p)| ipnetwork::IpNetwork::new(a, p).unwrap())
}

fn any_result() -> impl Strategy<Value = CniResult> {
    let interface = (
        "[a-z]{1,8}",
        any::<Option<[u8; 6]>>(),
        proptest::option::of(1_u32..70_000),
    )
        .prop_map(|(name, mac, mtu)| Interface {
            name,
            mac: mac.map(Into::into),
            mtu,
            ..Interface::default()
        });
    let ip = (
        any_address(),
        any::<Option<[u8; 4]>>(),
        proptest::option::of(0_usize..4),
    )
        .prop_map(|(address, gateway, interface)| IpConfig {
            interface,
            address,
            gateway: gateway.map(Into::into),
        });
    let route = (any_address(), any::<Option<u32>>(), any::<Option<u8>>()).prop_map(
        |(dst, table, scope)| Route {
            table,
            scope,
            ..Route::new(dst, None)
        },
    );
    let list = |strategy| proptest::collection::vec(strategy, 0..4);
    (
        list(interface.boxed()),
        proptest::collection::vec(ip, 0..4),
        proptest::collection::vec(route, 0..4),
    )
        .prop_map(|(interfaces, ips, routes)| CniResult {
            interfaces,
            ips,
            routes,
            dns: Dns::default(),
        })
}

proptest! {
    #[test]
    fn the_newest_form_loses_nothing(result in any_result()) {
        prop_assert_eq!(CniResult::from_json(&result.to_json(Version::NEWEST)).unwrap(), result);
    }

    #[test]
    fn every_form_is_stable_once_written(result in any_result()) {
        for version in Version::ALL {
            let written = result.to_json(version);
            prop_assert_eq!(CniResult::from_json(&written).unwrap().to_json(version), written);
        }
    }
}
