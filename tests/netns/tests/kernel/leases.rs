//! Our host-local and the reference's on one lease directory: each honours, checks and releases what the other wrote.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{self, gateway, list};
use wharfline_netns_tests::{Pod, addresses, ours, power_cycle, warm_up};
use wharfline_testkit::{Attachment, Lab, Network, Plugins};

const LEASES: &str = "/var/lib/cni/networks/net";

/// Five addresses, so that a mistake soon takes one twice or runs out.
fn small() -> Value {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/29"}]]});
    list("net", json!([gateway(&ipam)]))
}

fn leases(lab: &Lab) -> Vec<String> {
    let world = lab.world();
    let files = world.objects("file /var/lib/cni/networks/net/10.");
    files
        .map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
        .collect()
}

/// `first` attaches; `second` must not take its address, must find it right, and must release it.
fn takes_over(first: &Plugins, second: &Plugins) {
    let lab = Lab::new();
    let old = Network::new(&lab, first, small());
    let new = old.served_by(second);
    let (a, b) = (Pod::on(&old, "a"), Pod::on(&old, "b"));
    let c = Pod::on(&new, "c");
    let all: BTreeSet<_> = [&a, &b, &c].map(|pod| pod.v4()).into();
    assert_eq!(all.len(), 3, "an address was given twice");
    new.check(&a.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    new.del(&a.attachment);
    old.del(&c.attachment);
    assert_eq!(leases(&lab), [b.v4().to_string()]);
    old.check(&b.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    // Round robin goes on where the other left off.
    let next = Pod::on(&new, "next");
    assert!(!all.contains(&next.v4()), "{} was just released", next.v4());
}

#[test]
fn a_node_switches_to_our_plugins_with_live_containers() {
    takes_over(&Plugins::reference(), &ours());
}

#[test]
fn a_node_switches_back_to_the_reference_with_live_containers() {
    takes_over(&ours(), &Plugins::reference());
}

#[test]
fn both_at_once_never_give_an_address_twice() {
    let lab = Lab::new();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
    let network = Network::new(
        &lab,
        &ours(),
        list(
            "net",
            json!([{"type": "bridge", "bridge": "cni0", "ipam": ipam}]),
        ),
    );
    let pods: Vec<_> = (0..40).map(|n| lab.namespace(&format!("c{n}"))).collect();
    let results: Vec<Value> = std::thread::scope(|scope| {
        let attach = |(n, pod)| {
            let plugins = if n % 2 == 0 {
                ours()
            } else {
                Plugins::reference()
            };
            let network = network.served_by(&plugins);
            scope.spawn(move || network.add(&Attachment::of(pod)))
        };
        let threads: Vec<_> = pods.iter().enumerate().map(attach).collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("ADD"))
            .collect()
    });
    let distinct: BTreeSet<_> = results.iter().flat_map(addresses).collect();
    assert_eq!(distinct.len(), 40);
    assert_eq!(leases(&lab).len(), 40);
}

#[test]
fn a_lease_file_is_byte_for_byte_the_references() {
    let content = |plugins: &Plugins| {
        let lab = Lab::new();
        let network = Network::new(&lab, plugins, small());
        Pod::on(&network, "pod");
        let files = ["10.88.0.2", "last_reserved_ip.0"];
        files.map(|name| std::fs::read(lab.path(format!("{LEASES}/{name}"))).expect("read a lease"))
    };
    assert_eq!(content(&ours()), content(&Plugins::reference()));
}

#[test]
fn after_a_reboot_the_leases_of_the_dead_are_free() {
    let lab = Lab::new();
    let network = Network::new(&lab, &ours(), small());
    let pods: Vec<_> = (0..5)
        .map(|n| Pod::on(&network, &format!("old{n}")))
        .collect();
    let late = lab.namespace("late");
    let failed = network
        .try_add(&Attachment::of(&late))
        .expect_err("an ADD to a full range");
    assert!(failed.failed().contains("10.88.0."), "{failed}");
    let dead: Vec<_> = pods
        .iter()
        .map(|pod| pod.attachment.without_netns())
        .collect();
    drop((pods, late));
    power_cycle(&lab);
    let pods: Vec<_> = (0..5)
        .map(|n| Pod::on(&network, &format!("new{n}")))
        .collect();
    // Runtimes send DEL for what they remember of the time before; it must not take what is somebody else's now.
    dead.iter().for_each(|attachment| network.del(attachment));
    for pod in &pods {
        network
            .check(&pod.attachment)
            .unwrap_or_else(|failed| panic!("{failed}"));
    }
}

#[test]
fn after_a_reboot_the_first_add_and_del_leave_a_fresh_world() {
    let fresh = Lab::new();
    let network = Network::new(&fresh, &ours(), lists::published());
    warm_up(&fresh, &network);
    let expected = fresh.world();

    let lab = Lab::new();
    let network = Network::new(&lab, &ours(), lists::published());
    drop(Pod::on(&network, "dead"));
    power_cycle(&lab);
    warm_up(&lab, &network);
    let leftovers = expected.difference(&lab.world());
    assert!(
        !leftovers.mentions("/networks/net/10.") && !leftovers.mentions("+ host"),
        "{leftovers}"
    );
}
