//! An ADD that fails at any one of its operations takes back all that it did before, and says what failed.

use nix::errno::Errno;
use wharfline_netns_tests::lists::{self, port, ports};
use wharfline_netns_tests::{lasting, ours, warm_up};
use wharfline_testkit::fault::{self, Struck};
use wharfline_testkit::{Attachment, Call, Lab, Network, Verb};

/// Strikes the ADD of plugin `step` with one fault after the other until it outruns them.
fn takes_everything_back(step: usize, strike: impl Fn(&Lab, &Call, usize) -> Struck) {
    let lab = Lab::new();
    let _outside = lab.outside();
    let runtime = ports(&[port("tcp", 8080, 80), port("udp", 5353, 53)]);
    let network = Network::new(&lab, &ours(), lists::published()).with_runtime(runtime);
    warm_up(&lab, &network);
    let warm = lab.world();
    let mut refusals = 0;
    for nth in 1.. {
        let pod = lab.namespace("pod");
        let attachment = Attachment::of(&pod);
        let previous = (0..step).fold(None, |previous, earlier| {
            Some(
                network
                    .call(Verb::Add, earlier, &attachment, previous.as_ref())
                    .make(&lab)
                    .ok(),
            )
        });
        // Neighbours that were told, not pinned, may be dropped by the kernel meanwhile.
        let before = lasting(lab.world_with(&[&pod])).without("host neighbour");
        let struck = strike(
            &lab,
            &network.call(Verb::Add, step, &attachment, previous.as_ref()),
            nth,
        );
        let Some(at) = struck.at.clone() else { break };
        if !struck.outcome.succeeded() && !at.starts_with("write(0x1,") {
            struck.outcome.failed();
            before.returns(
                &format!("the world before an ADD that failed at {at}"),
                || lasting(lab.world_with(&[&pod])).without("host neighbour"),
            );
            refusals += 1;
        }
        network.del(&attachment);
        drop(pod);
        warm.returns(&format!("the warm world after {at} and DEL"), || {
            lab.world()
        });
    }
    assert!(refusals >= 3, "only {refusals} of the faults made ADD fail");
}

#[test]
fn bridge_when_the_kernel_refuses_a_change() {
    takes_everything_back(0, fault::refused_at);
}

#[test]
fn portmap_when_the_kernel_refuses_a_change() {
    takes_everything_back(1, fault::refused_at);
}

#[test]
fn bridge_when_a_system_call_fails() {
    takes_everything_back(0, |lab, call, nth| {
        fault::failing_at(lab, call, nth, Errno::ENOSPC)
    });
}

#[test]
fn portmap_when_a_system_call_fails() {
    takes_everything_back(1, |lab, call, nth| {
        fault::failing_at(lab, call, nth, Errno::ENOSPC)
    });
}
