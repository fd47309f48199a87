//! The engine on the real kernel, in throwaway namespaces, under a driver whose plan is written out.
//! Needs root and the packages iproute2 and nftables.

mod scripted;

use scripted::{Attached, BROKEN, Scripted};
use wharfline_testkit::Lab;

/// Operations that a plan of [`Scripted`] has.
const OPERATIONS: usize = 8;

#[test]
fn an_add_that_fails_at_any_operation_leaves_the_world_as_it_was() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    // Warm: our table is laid once per host and stays.
    attached.add(&lab, &Scripted::default()).expect("ADD");
    attached.del(&lab).expect("DEL");
    let before = lab.world_with(&[&pod]);
    for at in 0..=OPERATIONS {
        let broken = Scripted {
            broken_at: Some(at),
        };
        let told = attached.add(&lab, &broken).expect_err("the ADD fails");
        assert!(told.contains(BROKEN) && !told.contains("undo"), "{told}");
        before.returns(&format!("an ADD that fails at operation {at}"), || {
            lab.world_with(&[&pod])
        });
    }
}

#[test]
fn a_del_finds_its_attachment_without_a_record_and_succeeds_a_second_time() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    attached.del(&lab).expect("DEL");
    let before = lab.world_with(&[&pod]);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    lab.exec(&[
        "sh",
        "-c",
        "rm /run/wharfline/host-*/scripted/lab/c1@eth0.json",
    ]);
    attached.del(&lab).expect("DEL without a record");
    attached.del(&lab).expect("DEL of nothing");
    before.returns("a DEL without a record", || lab.world_with(&[&pod]));
}

#[test]
fn check_names_a_neighbour_at_another_mac_and_not_one_that_the_kernel_forgot() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    lab.host().ip("neigh del 10.1.0.2 dev net0");
    attached.check(&lab).expect("ARP finds it again");
    lab.host()
        .ip("neigh replace 10.1.0.2 lladdr 02:00:00:00:00:99 dev net0 nud permanent");
    let told = attached.check(&lab).expect_err("a difference");
    assert!(
        told.contains("neighbour 10.1.0.2 on net0 is at 02:00:00:00:00:99, not "),
        "{told}"
    );
}

#[test]
fn check_names_every_difference() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    attached.check(&lab).expect("nothing differs");
    let port = attached.key.host_end(0);
    lab.exec(&["nft", "flush", "set", "bridge", "wharfline", "guarded"]);
    lab.host().ip(&format!("link set {port} nomaster down"));
    lab.host().ip("link set net0 down");
    pod.ip("route del default");
    pod.ip("addr del 10.1.0.2/24 dev eth0");
    pod.ip("link set eth0 address 02:00:00:00:00:08 down");
    let told = attached.check(&lab).expect_err("differences");
    for difference in [
        "eth0 of container c1 on network lab: ".to_owned(),
        "bridge net0 is down".to_owned(),
        format!("link {port} is down on the host"),
        format!("link {port} is no port of bridge net0"),
        "link eth0 in the container has the MAC 02:00:00:00:00:08, not 02:00:00:00:00:07"
            .to_owned(),
        "nftables: ".to_owned(),
        "link eth0 in the container lacks the address 10.1.0.2/24".to_owned(),
        "link eth0 is down in the container".to_owned(),
        "route to 0.0.0.0/0 via 10.1.0.1 on eth0 is missing in the container".to_owned(),
    ] {
        assert!(
            told.contains(&difference),
            "{difference} is not in:\n{told}"
        );
    }
    pod.ip("link del eth0");
    let told = attached.check(&lab).expect_err("differences");
    assert!(
        told.contains(&format!("link {port} is missing on the host")),
        "{told}"
    );
    assert!(
        told.contains("link eth0 is missing in the container"),
        "{told}"
    );
}

#[test]
fn the_default_route_of_another_network_stands_for_ours_and_another_gateway_on_our_link_does_not() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    pod.ip("route replace default via 10.1.0.77");
    let told = attached.check(&lab).expect_err("a difference");
    assert!(told.contains("route to 0.0.0.0/0 via 10.1.0.1"), "{told}");
    pod.ip("link add eth1 type bridge");
    pod.ip("addr add 10.2.0.2/24 dev eth1\nlink set eth1 up\nroute replace default via 10.2.0.1 dev eth1");
    attached
        .check(&lab)
        .expect("the first network's route stays first");
}

#[test]
fn what_a_network_shares_goes_with_its_last_attachment_and_stays_for_another_network() {
    let lab = Lab::new();
    let pods = ["one", "two", "three"].map(|name| lab.namespace(name));
    let first = Attached::new("lab", "c1", &pods[0]);
    let second = Attached::new("lab", "c2", &pods[1]);
    let other = Attached::new("other", "c3", &pods[2]);
    let bridge = || lab.world().state("host link net0").is_some();
    for attached in [&first, &second, &other] {
        attached.add(&lab, &Scripted::default()).expect("ADD");
    }
    first.del(&lab).expect("DEL");
    assert!(bridge(), "another container is on the network");
    second.del(&lab).expect("DEL");
    assert!(bridge(), "another network is on the bridge");
    other.del(&lab).expect("DEL");
    assert!(!bridge(), "nobody is left");
}

#[test]
fn somebody_elses_link_of_the_derived_name_stays_and_the_next_salt_is_taken() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    let [taken, next] = [0, 1].map(|salt| attached.key.host_end(salt));
    lab.host().ip(&format!("link add {taken} type bridge"));
    attached.add(&lab, &Scripted::default()).expect("ADD");
    attached.check(&lab).expect("CHECK");
    let has =
        |link: &dyn std::fmt::Display| lab.world().state(&format!("host link {link}")).is_some();
    assert!(has(&taken) && has(&next));
    attached.del(&lab).expect("DEL");
    assert!(has(&taken) && !has(&next));
}

#[test]
fn a_second_add_of_the_same_attachment_is_refused_and_changes_nothing() {
    let lab = Lab::new();
    let pod = lab.namespace("pod");
    let attached = Attached::new("lab", "c1", &pod);
    attached.add(&lab, &Scripted::default()).expect("ADD");
    let before = lab.world_with(&[&pod]);
    let told = attached.add(&lab, &Scripted::default());
    assert!(told.expect_err("refused").contains("CNI_IFNAME"));
    before.returns("a second ADD", || lab.world_with(&[&pod]));
}
