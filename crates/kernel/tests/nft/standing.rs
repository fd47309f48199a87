//! Laying, verifying and healing the tables.

use wharfline_kernel::nft::{BASE_VERSION, Conditions, Element, Nft, Standing, Table};

use crate::lab::{become_host, laid, published, run, tag, try_run};

#[test]
fn a_table_is_absent_then_sealed_then_absent() {
    become_host();
    let conditional = Conditions::new("ip saddr { 10.0.0.0/8, 192.0.2.1 }", "ip6 saddr fd00::/8");
    let conditional = Table::Conditional(conditional.expect("matches"));
    let mut nft = Nft::open().expect("a socket");
    for table in [Table::Main, Table::Bridge, Table::Boundary, conditional] {
        assert_eq!(nft.verify(&table), Ok(Standing::Absent), "{table}");
        assert_eq!(nft.lay(&table, &[]), Ok(true), "{table}");
        assert_eq!(nft.verify(&table), Ok(Standing::Sealed), "{table}");
        assert_eq!(nft.lay(&table, &[]), Ok(false), "{table}");
        assert_eq!(nft.remove(&table), Ok(()), "{table}");
        assert_eq!(nft.remove(&table), Ok(()), "a second removal");
        assert_eq!(nft.verify(&table), Ok(Standing::Absent), "{table}");
    }
}

#[test]
fn whatever_is_altered_behind_our_back_is_noticed_and_healed_with_every_element() {
    become_host();
    let mut nft = laid();
    let kept = [
        (published(80, "10.1.0.2:8080"), tag("a")),
        (published(443, "[fd00::2]:8443"), tag("b")),
        (
            Element::Link {
                ifname: "cni0".into(),
            },
            tag("a"),
        ),
    ];
    let elements: Vec<_> = kept.iter().map(|(element, _)| element.clone()).collect();
    for alteration in [
        "nft flush table inet wharfline",
        "nft flush ruleset",
        "nft delete table inet wharfline",
        "nft flush chain inet wharfline publish",
        "nft flush chain inet wharfline forward; nft delete chain inet wharfline forward",
        "nft add rule inet wharfline forward drop",
        "nft insert rule inet wharfline published accept",
        "nft chain inet wharfline forward '{ policy drop; }'",
        "nft add table inet wharfline '{ flags dormant; }'",
        "nft flush set inet wharfline seal",
        "nft delete rule inet wharfline loopback_guard handle \
         $(nft -a list chain inet wharfline loopback_guard | sed -n 's/.*ip daddr.*handle //p')",
    ] {
        run(alteration);
        assert_ne!(
            nft.verify(&Table::Main),
            Ok(Standing::Sealed),
            "{alteration}"
        );
        assert_eq!(nft.lay(&Table::Main, &kept), Ok(true), "{alteration}");
        assert_eq!(
            nft.verify(&Table::Main),
            Ok(Standing::Sealed),
            "{alteration}"
        );
        assert_eq!(nft.missing(&elements), Ok(vec![]), "{alteration}");
    }
}

#[test]
fn elements_and_other_tables_do_not_break_the_seal() {
    become_host();
    let mut nft = laid();
    nft.create(&[published(80, "10.1.0.2:80")], &tag("a"))
        .expect("created");
    run("nft add table inet other; iptables -P FORWARD DROP");
    nft.delete(&[published(80, "10.1.0.2:80")], Some(&tag("a")))
        .expect("deleted");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
}

#[test]
fn of_racing_layers_one_lays_the_rules_once() {
    become_host();
    let laid: Vec<bool> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| Nft::open().and_then(|mut nft| nft.lay(&Table::Main, &[]))))
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("no panic").expect("laid or lost"))
            .collect()
    });
    assert!(laid.iter().filter(|won| **won).count() >= 1);
    let rules = run("nft list table inet wharfline");
    assert_eq!(rules.matches("loopback_guard {").count(), 1);
    assert_eq!(rules.matches("ip saddr 127.0.0.0/8 drop").count(), 1);
    let mut nft = Nft::open().expect("a socket");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
}

#[test]
fn a_table_of_an_older_version_is_replaced() {
    become_host();
    let mut nft = Nft::open().expect("a socket");
    run("nft add table inet wharfline '{ comment \"wharfline 0\"; }'");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Altered));
    assert_eq!(nft.lay(&Table::Main, &[]), Ok(true));
}

#[test]
fn a_table_of_a_newer_version_is_left_alone() {
    become_host();
    let newer = BASE_VERSION + 1;
    run(&format!(
        "nft add table inet wharfline '{{ comment \"wharfline {newer}\"; }}'"
    ));
    run("nft add chain inet wharfline of_tomorrow");
    let before = run("nft list ruleset");
    let mut nft = Nft::open().expect("a socket");
    assert_eq!(nft.verify(&Table::Main), Ok(Standing::Sealed));
    assert_eq!(nft.lay(&Table::Main, &[]), Ok(false));
    assert_eq!(run("nft list ruleset"), before);
}

#[test]
fn conditions_that_nft_does_not_understand_are_refused_in_its_words() {
    become_host();
    let conditions = Conditions::new("ip saddr nonsense/99", "").expect("one match");
    let mut nft = Nft::open().expect("a socket");
    let error = nft
        .lay(&Table::Conditional(conditions), &[])
        .expect_err("refused");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let left = try_run("nft list tables");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
