use super::*;

#[test]
fn an_interface_name_follows_the_kernels_rule() {
    for good in ["lo", "eth0", "a", "fifteen-bytes-x", "ü0", "net.1", "@x"] {
        assert_eq!(IfName::new(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        ".",
        "..",
        "sixteen-bytes-xy",
        "a/b",
        "a:b",
        "a b",
        "a\tb",
        "a\u{b}",
        "à",
        "veth%d",
        "a\0",
    ] {
        assert!(IfName::new(bad).is_err(), "{bad:?} must be refused");
    }
}

#[test]
fn a_container_id_and_a_network_name_follow_the_spec() {
    for good in ["a", "0", "a_b.c-d", "A9"] {
        assert!(
            ContainerId::new(good).is_ok() && NetworkName::new(good).is_ok(),
            "{good:?}"
        );
    }
    for bad in ["", ".a", "-a", "_a", "a/b", "a b", "a\n", "ä", "..", "a\0"] {
        assert!(
            ContainerId::new(bad).is_err() && NetworkName::new(bad).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn numbers_keep_their_range() {
    assert!(VlanId::new(0).is_err() && VlanId::new(4095).is_err() && VlanId::new(65_537).is_err());
    assert_eq!(VlanId::new(4094).unwrap().get(), 4094);
    assert!(Vni::new(0).is_err() && Vni::new(1 << 24).is_err());
    assert_eq!(Vni::new(0xff_ffff).unwrap().get(), 0xff_ffff);
}

#[test]
fn a_refusal_names_the_kind_the_value_and_the_rule() {
    assert_eq!(
        IfName::new("a/b").unwrap_err().to_string(),
        "interface name \"a/b\": must not contain '/', ':', '%', NUL or white space"
    );
}

#[test]
fn a_name_read_from_json_is_checked() {
    assert!(serde_json::from_str::<IfName>("\"eth0\"").is_ok());
    assert!(serde_json::from_str::<IfName>("\"a/b\"").is_err());
    assert!(serde_json::from_str::<VlanId>("4095").is_err());
}
