//! Names of further bridges and their cascades, and finding back whose they are.

use std::collections::HashSet;

use super::*;

fn bridge(name: &str) -> IfName {
    IfName::new(name).expect("a name")
}

#[test]
fn every_link_of_every_cascade_has_a_name_of_its_own() {
    let mut seen = HashSet::new();
    for bridge in [bridge("cni0"), bridge("cni1"), bridge("fifteen-letters")] {
        assert_eq!(member_name(&bridge, 0), bridge);
        for number in 1..MAX_MEMBERS {
            let [upper, lower] = cascade_ends(&bridge, number);
            for name in [member_name(&bridge, number), upper, lower] {
                assert!(name.as_str().len() <= 15, "{name}");
                assert!(seen.insert(name.clone()), "{name}");
            }
        }
    }
}

#[test]
fn names_never_change() {
    // Members of an older release are found by them.
    assert_eq!(member_name(&bridge("cni0"), 1).as_str(), "wb4t14k02wz052");
}

#[test]
fn a_member_is_told_by_its_alias_and_the_first_by_its_name() {
    let link = |name: &str, alias: Option<&str>| Link {
        name: name.to_owned(),
        alias: alias.map(str::to_owned),
        ..Link::default()
    };
    assert_eq!(member_of(&link("cni0", None)), Some((bridge("cni0"), 0)));
    let member = link("wb1", Some("wharfline member 3 of cni0"));
    assert_eq!(member_of(&member), Some((bridge("cni0"), 3)));
    for broken in [
        "wharfline member x of cni0",
        "wharfline member 3",
        "wharfline member 3 of a/b",
    ] {
        assert_eq!(member_of(&link("wb1", Some(broken))), None, "{broken}");
    }
}

#[test]
fn both_ends_of_each_cascade_are_marked() {
    assert!(cascade_elements(&bridge("cni0"), 0).is_empty());
    assert_eq!(cascade_elements(&bridge("cni0"), 2).len(), 4);
}
