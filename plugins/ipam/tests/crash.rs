//! SIGKILL at every system call: no address leaks, none is given twice, and the next call goes on.

mod common;

use common::{Host, addresses, two_families, with_valid};
use wharfline_testkit::Verb;
use wharfline_testkit::fault::{Stops, killed_at};

/// More than any verb makes.
const ENOUGH: usize = 2_000;

/// Kills `verb` for `victim` at each of its system calls in turn, on a host prepared by `before`, and
/// looks at what is left with `after`.
fn at_every_call(verb: Verb, stops: Stops, before: impl Fn(&Host), after: impl Fn(&Host, &str)) {
    let conf = with_valid(&two_families(), &["keeper"]);
    for nth in 1..ENOUGH {
        let host = Host::new();
        host.ok(Verb::Add, &conf, "keeper");
        before(&host);
        let struck = killed_at(
            &host.lab,
            &host.call(&host.ours, verb, &conf, "victim"),
            nth,
            stops,
        );
        let at = struck.at.unwrap_or_default();
        after(&host, &format!("killed at {nth}: {at}"));
        let leases = host.leases();
        let keepers = leases
            .values()
            .filter(|holder| *holder == "keeper\r\neth0")
            .count();
        assert_eq!(keepers, 2, "{at}: the other container's leases: {leases:?}");
        if at.is_empty() {
            assert!(struck.outcome.succeeded(), "{}", struck.outcome);
            return;
        }
    }
    panic!("{verb} makes more than {ENOUGH} system calls");
}

/// Both addresses of the victim, each once, and the next container gets others.
fn next_add_is_sound(host: &Host, at: &str) {
    let conf = with_valid(&two_families(), &["keeper"]);
    let before = host.leases();
    let result = host.ok(Verb::Add, &conf, "next");
    for address in addresses(&result) {
        let name = address.split('/').next().expect("an address");
        assert!(
            !before.contains_key(name),
            "{at}: {name} given twice: {before:?}"
        );
        assert_eq!(host.leases()[name], "next\r\neth0", "{at}");
    }
    host.ok(Verb::Del, &conf, "next");
}

#[test]
fn an_add_killed_anywhere_is_cleaned_by_del() {
    at_every_call(
        Verb::Add,
        Stops::EveryCall,
        |_| {},
        |host, at| {
            for (name, holder) in host.leases() {
                assert!(
                    holder.ends_with("\r\neth0"),
                    "{at}: {name} is not whole: {holder:?}"
                );
            }
            next_add_is_sound(host, at);
            host.ok(Verb::Del, &two_families(), "victim");
            assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
        },
    );
}

#[test]
fn an_add_killed_anywhere_is_collected_by_gc_when_del_never_comes() {
    at_every_call(
        Verb::Add,
        Stops::EveryChange,
        |_| {},
        |host, at| {
            host.ok(Verb::Gc, &with_valid(&two_families(), &["keeper"]), "");
            assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
            next_add_is_sound(host, at);
        },
    );
}

#[test]
fn an_add_killed_anywhere_is_reclaimed_by_the_next_boot() {
    at_every_call(
        Verb::Add,
        Stops::EveryChange,
        |_| {},
        |host, at| {
            host.lab.forget_boot();
            host.ok(Verb::Add, &two_families(), "keeper");
            assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
        },
    );
}

#[test]
fn the_first_add_of_a_boot_killed_anywhere_is_finished_by_the_next() {
    let conf = two_families();
    for nth in 1..ENOUGH {
        let host = Host::new();
        for container in ["dead1", "dead2"] {
            host.ok(Verb::Add, &conf, container);
        }
        host.lab.forget_boot();
        let call = host.call(&host.ours, Verb::Add, &conf, "victim");
        let struck = killed_at(&host.lab, &call, nth, Stops::EveryChange);
        let at = struck.at.as_deref().unwrap_or_default();
        next_add_is_sound(&host, at);
        host.ok(Verb::Del, &conf, "victim");
        assert!(host.leases().is_empty(), "{at}: {:?}", host.leases());
        if struck.at.is_none() {
            return;
        }
    }
}

#[test]
fn a_first_add_ever_killed_anywhere_leaves_a_sound_directory() {
    let conf = two_families();
    for nth in 1..ENOUGH {
        let host = Host::new();
        let call = host.call(&host.ours, Verb::Add, &conf, "victim");
        let struck = killed_at(&host.lab, &call, nth, Stops::EveryChange);
        next_add_is_sound(&host, struck.at.as_deref().unwrap_or_default());
        host.ok(Verb::Del, &conf, "victim");
        assert!(
            host.leases().is_empty(),
            "{:?}: {:?}",
            struck.at,
            host.leases()
        );
        if struck.at.is_none() {
            return;
        }
    }
}

#[test]
fn a_del_killed_anywhere_is_finished_by_the_next() {
    at_every_call(
        Verb::Del,
        Stops::EveryCall,
        |host| drop(host.ok(Verb::Add, &two_families(), "victim")),
        |host, at| {
            next_add_is_sound(host, at);
            host.ok(Verb::Del, &two_families(), "victim");
            assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
        },
    );
}

#[test]
fn a_gc_killed_anywhere_is_finished_by_the_next() {
    let conf = with_valid(&two_families(), &["keeper"]);
    at_every_call(
        Verb::Gc,
        Stops::EveryChange,
        |host| drop(host.ok(Verb::Add, &two_families(), "victim")),
        |host, at| {
            next_add_is_sound(host, at);
            host.ok(Verb::Gc, &conf, "");
            assert_eq!(host.leases().len(), 2, "{at}: {:?}", host.leases());
        },
    );
}

/// The reference writes a lease in two steps; killed between them it leaves an empty file for ever.
#[test]
fn an_address_that_a_crash_of_the_reference_leaked_is_given_out_again() {
    let host = Host::new();
    let conf = common::one_subnet();
    host.ok(Verb::Add, &conf, "c1");
    std::fs::write(host.lab.path(common::LEASES).join("10.1.0.3"), "").unwrap();
    assert_eq!(addresses(&host.ok(Verb::Add, &conf, "c2")), ["10.1.0.3/24"]);
}
