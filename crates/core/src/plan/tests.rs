//! The order of operations, and what is left out of it.

use super::*;

fn view() -> ContainerView {
    let gateway: IpAddr = "fd00::1".parse().expect("an address");
    ContainerView {
        link: Some(IfName::new("eth0").expect("a name")),
        up: true,
        addresses: vec!["fd00::7/64".parse().expect("an address")],
        detect_duplicates: true,
        alone: false,
        probe: None,
        routes: vec![IpRoute::unicast(
            "::/0".parse().expect("a network"),
            Some(gateway),
        )],
        neighbours: vec![(gateway, MacAddr6::new(2, 0, 0, 0, 0, 1))],
        sysctls: vec![("net/ipv6/conf/eth0/disable_ipv6".into(), "0".into())],
    }
}

fn names(plan: &Plan) -> Vec<String> {
    let name = |op: &Op| serde_json::to_value(op).expect("JSON")["op"].to_string();
    plan.all_operations()
        .iter()
        .map(|(ns, op)| format!("{ns:?} {}", name(op)))
        .collect()
}

#[test]
fn the_host_comes_first_then_the_container_in_the_order_that_the_kernel_needs() {
    let mut plan = Plan {
        view: view(),
        ..Plan::default()
    };
    plan.on_host(Op::KeepRouterAdvertisements);
    assert_eq!(
        names(&plan),
        [
            r#"Host "keep_router_advertisements""#,
            // Without IPv6 an address is refused, without the link up a route, and with a tentative address its use.
            r#"Container "sysctl""#,
            r#"Container "add_address""#,
            r#"Container "set_up""#,
            r#"Container "await_duplicate_detection""#,
            r#"Container "set_neighbour""#,
            r#"Container "add_route""#,
        ]
    );
}

#[test]
fn a_link_that_is_to_stay_down_is_not_set_up_and_nothing_waits_without_ipv6() {
    let quiet = ContainerView {
        up: false,
        addresses: vec!["10.1.0.7/24".parse().expect("an address")],
        routes: Vec::new(),
        neighbours: Vec::new(),
        sysctls: Vec::new(),
        ..view()
    };
    assert_eq!(quiet.operations().len(), 1);
}

#[test]
fn without_a_link_the_container_is_left_alone() {
    let none = ContainerView {
        link: None,
        ..view()
    };
    assert!(none.operations().is_empty());
}

#[test]
fn a_port_without_wishes_needs_no_setting() {
    let plain = Port {
        link: IfName::new("wl0").expect("a name"),
        hairpin: false,
        isolated: false,
        native_vlan: None,
        trunk: Vec::new(),
        keep_default_vlan: false,
    };
    assert!(plain.is_default());
    let trunk = vec![VlanId::new(7).expect("a VLAN")];
    assert!(!Port { trunk, ..plain }.is_default());
}
