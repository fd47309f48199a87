//! What is vouched for is believed as long as nobody changed anything in the namespace's ruleset, and no longer.

use wharfline_kernel::nft::{Element, Nft, Search, Standing, Table};

use crate::lab::{Space, become_host, laid, published, run, tag};

const TO: &str = "10.0.0.2:80";

/// A laid and verified table: what a verb begins with.
fn verified() -> Nft {
    become_host();
    let mut nft = laid();
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
    nft
}

/// Whether a verb that begins now would believe what `nft` vouches for.
fn is_believed(nft: &Nft) -> bool {
    let vouched = nft.vouched().expect("something vouched for").clone();
    assert!(vouched.tables.contains(&Table::Main));
    let mut later = Nft::open().expect("a socket");
    let believed = later.believe(vouched).expect("an answer");
    assert_eq!(later.vouched().is_some(), believed);
    believed
}

#[test]
fn own_changes_are_counted_along() {
    let mut nft = verified();
    assert!(is_believed(&nft));
    nft.create(&[published(1, TO), published(2, TO)], &tag("a"))
        .expect("created");
    assert!(is_believed(&nft), "after elements were added");
    nft.delete(&[published(1, TO)], Some(&tag("a")))
        .expect("deleted");
    assert!(is_believed(&nft), "after one was deleted");
    nft.delete(&[published(1, TO)], Some(&tag("a")))
        .expect("it is absent");
    assert!(is_believed(&nft), "after nothing was deleted");
    let taken = nft.create(&[published(2, TO)], &tag("b"));
    assert!(taken.expect_err("taken").is_present());
    assert!(is_believed(&nft), "after a refusal");
    nft.ensure(&[published(2, TO)], &tag("a"))
        .expect("it is there");
    assert!(is_believed(&nft), "after nothing was added");
}

#[test]
fn anything_that_another_changes_ends_it() {
    for change in [
        "nft add table ip other",
        "nft flush chain inet wharfline forward",
        "nft delete table inet wharfline",
        "nft flush ruleset",
    ] {
        let nft = verified();
        run(change);
        assert!(!is_believed(&nft), "{change}");
    }
}

#[test]
fn a_change_that_comes_second_is_made_all_the_same() {
    let mut nft = verified();
    run("nft flush chain inet wharfline forward");
    nft.create(&[published(1, TO)], &tag("a")).expect("created");
    assert!(
        nft.missing(&[published(1, TO)])
            .expect("looked up")
            .is_empty()
    );
    assert_eq!(nft.vouched(), None, "the forward chain is empty");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Altered));
    assert_eq!(nft.vouched(), None);
}

#[test]
fn another_namespace_at_the_same_generation_is_another() {
    let mut nft = verified();
    let vouched = nft.vouched().expect("vouched for").clone();
    let there = Space::new();
    let believed = there.enter(|| {
        let mut twin = laid();
        assert_eq!(twin.verify(&Table::Main), Ok(Standing::Sealed));
        let twins = twin.vouched().expect("vouched for").clone();
        assert_eq!(twins.generation, vouched.generation);
        twin.believe(vouched.clone())
    });
    assert_eq!(believed, Ok(false));
    assert_eq!(nft.believe(vouched), Ok(true));
}

/// What attachments share: the bridge that they are behind.
fn bridge() -> [Element; 1] {
    [Element::Link {
        ifname: "cni0".to_owned(),
    }]
}

/// A verified table with the bridge in it, as the second container finds it.
fn with_bridge() -> Nft {
    let mut nft = verified();
    nft.ensure(&bridge(), &tag("net")).expect("added");
    assert!(!nft.stands(&bridge()), "who adds it moves the generation");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
    nft.ensure(&bridge(), &tag("net")).expect("it is there");
    assert!(nft.stands(&bridge()));
    nft
}

/// Whether a verb that begins now spares itself what `nft` vouches for.
fn later(nft: &Nft) -> Nft {
    let mut later = Nft::open().expect("a socket");
    later
        .believe(nft.vouched().expect("vouched for").clone())
        .expect("an answer");
    later
}

#[test]
fn a_shared_element_stands_until_somebody_changes_something() {
    let mut nft = with_bridge();
    nft.create(&[published(1, TO)], &tag("a")).expect("created");
    nft.delete(&[published(1, TO)], Some(&tag("a")))
        .expect("deleted");
    assert!(
        later(&nft).stands(&bridge()),
        "after changes of ours beside it"
    );
    run("nft add table ip other");
    assert!(
        !later(&nft).stands(&bridge()),
        "after a change of another's"
    );
}

#[test]
fn a_shared_element_that_we_delete_stands_no_longer() {
    let mut nft = with_bridge();
    nft.delete(&bridge(), None).expect("deleted");
    assert!(!nft.stands(&bridge()));
    assert!(!later(&nft).stands(&bridge()));
}

#[test]
fn more_shared_elements_than_are_kept_are_ensured_again() {
    let mut nft = with_bridge();
    let many: Vec<Element> = (0..40)
        .map(|n| Element::Link {
            ifname: format!("br{n}"),
        })
        .collect();
    nft.ensure(&many, &tag("net")).expect("added");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
    for element in &many {
        nft.ensure(std::slice::from_ref(element), &tag("net"))
            .expect("it is there");
        assert!(nft.stands(std::slice::from_ref(element)));
    }
    assert!(!nft.stands(&many));
    assert!(nft.vouched().expect("vouched for").shared.len() <= 32);
}

#[test]
fn a_firewall_that_comes_is_seen_though_there_was_none() {
    let mut nft = verified();
    assert_eq!(nft.let_through(Search::Known), Ok(Vec::new()));
    assert!(nft.vouched().expect("vouched for").unopposed);
    let mut next = later(&nft);
    assert_eq!(next.let_through(Search::Known), Ok(Vec::new()));
    run(
        "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
    );
    let mut after = later(&nft);
    assert_eq!(after.let_through(Search::Known).expect("a look").len(), 1);
    assert_eq!(
        after.let_through(Search::Known).expect("a look").len(),
        1,
        "nor later"
    );
}
