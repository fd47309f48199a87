//! SIGKILL of a plugin and its children at every system call, and what the next call makes of it.

use serde_json::json;
use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{Pod, Segment, ours, power_cycle, warm_up};
use wharfline_testkit::fault::{self, Stops};
use wharfline_testkit::{Attachment, Lab, Network, Verb, World};

/// What comes after the crash.
#[derive(Clone, Copy)]
enum Then {
    /// The runtime sends DEL, as after any failed ADD.
    Del,
    /// The namespace is gone with the container, and DEL has neither it nor a result.
    DelWithoutNetns,
    /// Nobody sends DEL; GC comes some time later.
    Gc,
    /// The whole host went down with it; what comes first is the ADD of another container.
    Reboot,
}

impl Then {
    fn recover(self, network: &Network<'_>, attachment: &Attachment) {
        match self {
            Then::Del => network.del(attachment),
            Then::DelWithoutNetns => {
                network.forget_results();
                network.del(&attachment.without_netns());
            }
            Then::Gc => network.gc(&[]),
            Then::Reboot => {
                power_cycle(network.lab());
                network.forget_results();
                warm_up(network.lab(), network);
            }
        }
    }

    fn keeps_the_namespace(self) -> bool {
        matches!(self, Then::Del)
    }
}

/// A host whose network is warm.
struct Host<'lab> {
    lab: &'lab Lab,
    network: Network<'lab>,
    warm: World,
    _segment: Option<Segment>,
}

impl<'lab> Host<'lab> {
    fn with(network: Network<'lab>) -> Host<'lab> {
        let lab = network.lab();
        warm_up(lab, &network);
        Host {
            lab,
            network,
            warm: lab.world(),
            _segment: None,
        }
    }

    /// Kills the ADD of plugin `step` at its `nth` stop, recovers, and compares. False once the ADD outran the kill.
    fn survives_a_killed_add(&self, step: usize, nth: usize, then: Then) -> bool {
        let pod = self.lab.namespace("pod");
        let attachment = Attachment::of(&pod);
        let previous = self.first_steps(step, &attachment);
        let add = self
            .network
            .call(Verb::Add, step, &attachment, previous.as_ref());
        let struck = fault::killed_at(self.lab, &add, nth, stops());
        let kept = then.keeps_the_namespace().then_some(pod);
        then.recover(&self.network, &attachment);
        drop(kept);
        self.is_warm_after(&format!("ADD of plugin {step} killed at {:?}", struck.at));
        struck.at.is_some()
    }

    /// The same for a DEL of an attachment that works.
    fn survives_a_killed_del(&self, step: usize, nth: usize, then: Then) -> bool {
        let pod = Pod::on(&self.network, "pod");
        let attachment = pod.attachment.clone();
        for later in (step + 1..self.network.steps()).rev() {
            self.network
                .call(Verb::Del, later, &attachment, Some(&pod.result))
                .make(self.lab)
                .ok();
        }
        let del = self
            .network
            .call(Verb::Del, step, &attachment, Some(&pod.result));
        let struck = fault::killed_at(self.lab, &del, nth, stops());
        let kept = then.keeps_the_namespace().then_some(pod);
        then.recover(&self.network, &attachment);
        drop(kept);
        self.is_warm_after(&format!("DEL of plugin {step} killed at {:?}", struck.at));
        struck.at.is_some()
    }

    /// The plugins before `step`, and the result that it gets.
    fn first_steps(&self, step: usize, attachment: &Attachment) -> Option<serde_json::Value> {
        (0..step).fold(None, |previous, earlier| {
            let call = self
                .network
                .call(Verb::Add, earlier, attachment, previous.as_ref());
            Some(call.make(self.lab).ok())
        })
    }

    fn is_warm_after(&self, what: &str) {
        self.warm
            .returns(&format!("the warm world after {what}"), || self.lab.world());
    }
}

/// What most nodes run: a bridge, masquerade and published ports.
fn bridge(lab: &Lab) -> Host<'_> {
    let runtime = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
    let list = lists::current(lists::published());
    Host::with(Network::new(lab, &ours(), list).with_runtime(runtime))
}

/// The same containers, each with a link of its own to the host.
fn ptp(lab: &Lab) -> Host<'_> {
    let runtime = ports(&[port("tcp", 8080, 80)]);
    let mut list = lists::current(lists::published());
    list["plugins"][0]["type"] = json!("ptp");
    Host::with(Network::new(lab, &ours(), list).with_runtime(runtime))
}

/// Containers on a segment that the host reaches.
fn macvlan(lab: &Lab) -> Host<'_> {
    let plugin = lists::with(&Segment::plugin("macvlan"), &json!({"hostAccess": true}));
    let list = lists::current(lists::list("net", json!([plugin])));
    let segment = Segment::around(lab);
    Host {
        _segment: Some(segment),
        ..Host::with(Network::new(lab, &ours(), list))
    }
}

/// Every system call where `WHARFLINE_EVERY_SYSTEM_CALL` is set; else those between which the world can differ, which
/// are the same worlds in a tenth of the time.
fn stops() -> Stops {
    match std::env::var_os("WHARFLINE_EVERY_SYSTEM_CALL") {
        Some(_) => Stops::EveryCall,
        None => Stops::EveryChange,
    }
}

fn at_every_stop(
    host: impl for<'lab> Fn(&'lab Lab) -> Host<'lab>,
    survives: impl Fn(&Host<'_>, usize, Then) -> bool,
    then: Then,
) {
    let lab = Lab::new();
    let host = host(&lab);
    let stops = (1..).take_while(|nth| survives(&host, *nth, then)).count();
    assert!(
        stops >= 10,
        "only {stops} stops: is it the plugin that was traced?"
    );
}

macro_rules! killed {
    ($($name:ident: $survives:ident of $host:ident plugin $step:literal then $then:ident;)*) => {
        $(#[test] fn $name() {
            at_every_stop($host, |host, nth, then| host.$survives($step, nth, then), Then::$then);
        })*
    };
}

killed! {
    bridge_add_then_del: survives_a_killed_add of bridge plugin 0 then Del;
    bridge_add_then_del_without_netns: survives_a_killed_add of bridge plugin 0 then DelWithoutNetns;
    bridge_add_then_gc: survives_a_killed_add of bridge plugin 0 then Gc;
    bridge_del_then_del: survives_a_killed_del of bridge plugin 0 then Del;
    bridge_del_then_del_without_netns: survives_a_killed_del of bridge plugin 0 then DelWithoutNetns;
    bridge_del_then_gc: survives_a_killed_del of bridge plugin 0 then Gc;
    bridge_add_then_reboot: survives_a_killed_add of bridge plugin 0 then Reboot;
    bridge_del_then_reboot: survives_a_killed_del of bridge plugin 0 then Reboot;
    portmap_add_then_reboot: survives_a_killed_add of bridge plugin 1 then Reboot;
    portmap_add_then_del: survives_a_killed_add of bridge plugin 1 then Del;
    portmap_add_then_del_without_netns: survives_a_killed_add of bridge plugin 1 then DelWithoutNetns;
    portmap_add_then_gc: survives_a_killed_add of bridge plugin 1 then Gc;
    portmap_del_then_del: survives_a_killed_del of bridge plugin 1 then Del;
    portmap_del_then_del_without_netns: survives_a_killed_del of bridge plugin 1 then DelWithoutNetns;
    macvlan_add_then_del: survives_a_killed_add of macvlan plugin 0 then Del;
    macvlan_add_then_del_without_netns: survives_a_killed_add of macvlan plugin 0 then DelWithoutNetns;
    macvlan_add_then_gc: survives_a_killed_add of macvlan plugin 0 then Gc;
    macvlan_del_then_del: survives_a_killed_del of macvlan plugin 0 then Del;
    macvlan_del_then_del_without_netns: survives_a_killed_del of macvlan plugin 0 then DelWithoutNetns;
    macvlan_del_then_gc: survives_a_killed_del of macvlan plugin 0 then Gc;
    ptp_add_then_del: survives_a_killed_add of ptp plugin 0 then Del;
    ptp_add_then_del_without_netns: survives_a_killed_add of ptp plugin 0 then DelWithoutNetns;
    ptp_add_then_gc: survives_a_killed_add of ptp plugin 0 then Gc;
    ptp_add_then_reboot: survives_a_killed_add of ptp plugin 0 then Reboot;
    ptp_del_then_del: survives_a_killed_del of ptp plugin 0 then Del;
    ptp_del_then_del_without_netns: survives_a_killed_del of ptp plugin 0 then DelWithoutNetns;
    ptp_del_then_gc: survives_a_killed_del of ptp plugin 0 then Gc;
    portmap_del_then_gc: survives_a_killed_del of bridge plugin 1 then Gc;
}

#[test]
fn a_crash_of_the_first_add_on_a_cold_host_is_mended_by_the_next() {
    for nth in 1.. {
        let lab = Lab::new();
        let network = Network::new(&lab, &ours(), lists::published());
        let pod = lab.namespace("pod");
        let attachment = Attachment::of(&pod);
        let add = network.call(Verb::Add, 0, &attachment, None);
        let struck = fault::killed_at(&lab, &add, nth, Stops::EveryChange);
        network.del(&attachment);
        drop(pod);
        let next = Pod::on(&network, "next");
        network
            .check(&next.attachment)
            .unwrap_or_else(|failed| panic!("after {:?}: {failed}", struck.at));
        if struck.at.is_none() {
            break;
        }
    }
}

#[test]
fn a_killed_gc_is_finished_by_the_next() {
    let lab = Lab::new();
    let host = bridge(&lab);
    for step in 0..2 {
        for nth in 1.. {
            drop(Pod::on(&host.network, "pod"));
            let gc = host
                .network
                .of_network(Verb::Gc, step, &serde_json::json!([]));
            let struck = fault::killed_at(&lab, &gc, nth, Stops::EveryChange);
            host.network.gc(&[]);
            host.is_warm_after(&format!("GC of plugin {step} killed at {:?}", struck.at));
            if struck.at.is_none() {
                break;
            }
        }
    }
}
