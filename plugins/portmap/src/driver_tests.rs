//! Plans as tables: what is published for whom, and what a live or dead rival does to it.

use std::net::IpAddr;

use wharfline_core::plan::{NsRef, Op};
use wharfline_kernel::nft::Tag;
use wharfline_spec::cni::{Interface, IpConfig};
use wharfline_spec::names::{ContainerId, NetworkName};

use std::net::SocketAddr;

use wharfline_kernel::nft::Protocol;
use wharfline_spec::cni::Protocol as Spoken;

use super::*;

fn key() -> AttachmentKey {
    AttachmentKey {
        network: NetworkName::new("web").expect("a name"),
        container: ContainerId::new("c1").expect("an id"),
        ifname: IfName::new("eth0").expect("a name"),
    }
}

fn previous() -> CniResult {
    let interface = |name: &str, sandbox: Option<&str>| Interface {
        name: name.to_owned(),
        sandbox: sandbox.map(str::to_owned),
        ..Interface::default()
    };
    let ip = |interface, address: &str| IpConfig {
        interface: Some(interface),
        address: address.parse().expect("an address"),
        gateway: None,
    };
    CniResult {
        interfaces: vec![
            interface("cni0", None),
            interface("eth0", Some("/run/netns/c1")),
            interface("eth1", Some("/run/netns/c1")),
        ],
        ips: vec![
            ip(2, "10.9.0.2/24"),
            ip(0, "10.1.0.1/24"),
            ip(1, "10.1.0.2/24"),
            ip(1, "10.1.0.3/24"),
            ip(1, "fd01::2/64"),
        ],
        ..CniResult::default()
    }
}

fn config(ports: &[(u16, Option<&str>)]) -> PortmapConfig {
    PortmapConfig {
        ports: ports
            .iter()
            .map(|(port, host)| PortMapping {
                host_port: *port,
                container_port: 80,
                protocol: Spoken::Tcp,
                host_ip: host.map(|host| host.parse().expect("an address")),
            })
            .collect(),
        masquerade: true,
        masquerade_all: false,
        conditions: None,
    }
}

fn facts() -> PortmapFacts {
    PortmapFacts {
        link: Some(IfName::new("cni0").expect("a name")),
        link_is_own: false,
        source6: Some("fd01::1".parse().expect("an address")),
        rivals: Vec::new(),
    }
}

fn plan(config: &PortmapConfig, facts: &PortmapFacts) -> Result<Plan> {
    let (key, previous, lease) = (key(), previous(), CniResult::default());
    let endpoint = Endpoint {
        key: &key,
        netns: None,
        mac: None,
        lease: &lease,
        previous: Some(&previous),
        salt: 0,
        contested: false,
    };
    PortmapDriver.plan(config, &endpoint, facts)
}

fn elements(plan: &Plan) -> Vec<String> {
    let created = plan.ops.iter().find_map(|(_, op)| match op {
        Op::CreateElements { elements } => Some(elements),
        _ => None,
    });
    created
        .into_iter()
        .flatten()
        .map(|element| element.to_string().replace("inet wharfline ", ""))
        .collect()
}

#[test]
fn the_first_address_of_each_family_of_the_containers_interface_is_published() {
    let plan = plan(&config(&[(8080, None)]), &facts()).expect("planned");
    assert_eq!(
        elements(&plan),
        [
            "published4_any { tcp . 8080 : 10.1.0.2 . 80 }",
            "published6_any { tcp . 8080 : fd01::2 . 80 }",
            "loopback_source6 { tcp . 8080 : fd01::1 }"
        ]
    );
    assert_eq!(plan.result, previous());
}

#[test]
fn a_host_address_picks_its_family_and_the_unspecified_one_all_of_it() {
    let ports = [
        (1, Some("192.0.2.1")),
        (2, Some("0.0.0.0")),
        (3, Some("::")),
        (4, Some("::1")),
        (5, Some("2001:db8::1")),
    ];
    let plan = plan(&config(&ports), &facts()).expect("planned");
    assert_eq!(
        elements(&plan),
        [
            "published4 { tcp . 192.0.2.1 . 1 : 10.1.0.2 . 80 }",
            "published4_any { tcp . 2 : 10.1.0.2 . 80 }",
            "published6_any { tcp . 3 : fd01::2 . 80 }",
            "published6 { tcp . ::1 . 4 : fd01::2 . 80 }",
            "published6 { tcp . 2001:db8::1 . 5 : fd01::2 . 80 }",
            "loopback_source6 { tcp . 3 : fd01::1 }",
            "loopback_source6 { tcp . 4 : fd01::1 }"
        ]
    );
}

#[test]
fn route_localnet_comes_after_the_tables_and_only_on_a_link_of_the_attachment() {
    let made = plan(&config(&[(8080, None)]), &facts()).expect("planned");
    let position = |wanted: fn(&Op) -> bool| {
        made.ops
            .iter()
            .position(|(ns, op)| *ns == NsRef::Host && wanted(op))
            .expect("planned")
    };
    let created = position(|op| matches!(op, Op::CreateElements { .. }));
    let routed =
        position(|op| matches!(op, Op::Sysctl { key, .. } if key.ends_with("cni0/route_localnet")));
    assert!(created < routed);
    let uplink = PortmapFacts {
        link: None,
        ..facts()
    };
    let made = plan(&config(&[(8080, None)]), &uplink).expect("planned");
    let quiet = |(_, op): &(NsRef, Op)| {
        !matches!(
            op,
            Op::Sysctl { .. } | Op::LetThrough { .. } | Op::EnsureElements { .. }
        )
    };
    assert!(made.ops.iter().all(quiet) && made.shared.is_empty());
}

#[test]
fn snat_off_keeps_every_source_and_masq_all_none() {
    let mut config = config(&[(8080, Some("0.0.0.0"))]);
    config.masquerade_all = true;
    let made = plan(&config, &facts()).expect("planned");
    assert!(elements(&made).contains(&"masquerade_all4 { 10.1.0.2 . tcp . 80 }".to_owned()));
    config.masquerade = false;
    let made = plan(&config, &facts()).expect("planned");
    assert!(elements(&made).contains(&"keep_source4 { 10.1.0.2 . tcp . 80 }".to_owned()));
    assert!(
        !made
            .ops
            .iter()
            .any(|(_, op)| matches!(op, Op::Sysctl { .. }))
    );
}

#[test]
fn a_living_rival_is_refused_by_name_and_a_dead_one_evicted_first() {
    let element = Element::Published {
        protocol: Protocol::Tcp,
        host: None,
        port: 8080,
        to: SocketAddr::new(IpAddr::from([10, 1, 0, 9]), 80),
        conditions: None,
    };
    let rival = |alive: Option<&str>| PortmapFacts {
        rivals: vec![Rival {
            element: element.clone(),
            tag: Some(Tag::attachment("web", "old", "eth0")),
            alive: alive.map(str::to_owned),
        }],
        ..facts()
    };
    let error =
        plan(&config(&[(8080, None)]), &rival(Some("eth0 of old on web"))).expect_err("live");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for words in ["tcp port 8080", "10.1.0.9:80", "eth0 of old on web"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    let made = plan(&config(&[(8080, None)]), &rival(None)).expect("planned");
    let evicted = made
        .ops
        .iter()
        .position(|(_, op)| matches!(op, Op::EvictElements { .. }));
    let created = made
        .ops
        .iter()
        .position(|(_, op)| matches!(op, Op::CreateElements { .. }));
    assert!(evicted.expect("evicted") < created.expect("created"));
}

#[test]
fn whatever_a_dead_rival_left_is_evicted_and_a_living_ones_loopback_source_is_shared() {
    let element = Element::LoopbackSource {
        protocol: Protocol::Tcp,
        port: 8080,
        source: "fd01::1".parse().expect("an address"),
    };
    let planned = |alive: Option<&str>| {
        let rival = Rival {
            element: element.clone(),
            tag: Some(Tag::attachment("web", "old", "eth0")),
            alive: alive.map(str::to_owned),
        };
        let facts = PortmapFacts {
            rivals: vec![rival],
            ..facts()
        };
        plan(&config(&[(8080, Some("::1"))]), &facts).expect("planned")
    };
    let evicts = |plan: &Plan| {
        let mut ops = plan.ops.iter();
        ops.any(|(_, op)| matches!(op, Op::EvictElements { .. }))
    };
    let after_death = planned(None);
    assert!(evicts(&after_death));
    assert_eq!(elements(&after_death).len(), 2);
    let beside = planned(Some("eth0 of old on web"));
    assert!(!evicts(&beside));
    assert_eq!(
        elements(&beside),
        ["published6 { tcp . ::1 . 8080 : fd01::2 . 80 }"]
    );
}

#[test]
fn what_the_record_deletes_is_what_was_created() {
    let made = plan(&config(&[(8080, None)]), &facts()).expect("planned");
    let Some(Target::Elements { elements: own }) = made.own.first() else {
        panic!("no elements");
    };
    let created = made.ops.iter().any(|(_, op)| {
        *op == Op::CreateElements {
            elements: own.clone(),
        }
    });
    assert!(created);
    assert!(own.iter().all(|element| PortmapDriver.owns(element)));
}
