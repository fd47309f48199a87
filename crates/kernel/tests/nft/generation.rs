//! What is vouched for is believed as long as nobody changed anything in the namespace's ruleset, and no longer.

use wharfline_kernel::nft::{Nft, Standing, Table};

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
