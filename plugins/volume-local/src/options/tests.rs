use super::*;

fn parse(given: &[(&str, &str)]) -> Result<Options> {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Options::parse(&given.iter().map(text).collect())
}

#[test]
fn sizes_have_units_of_1024() {
    for (text, bytes) in [
        ("1", 1),
        ("2k", 2048),
        ("3MiB", 3 << 20),
        ("10G", 10 << 30),
        ("1tb", 1 << 40),
    ] {
        assert_eq!(size("size", text).expect(text), bytes);
    }
    for text in ["", "G", "0", "1x", "-1", "1.5G", "99999999P", "1 G", "1GG"] {
        assert!(size("size", text).is_err(), "{text}");
    }
}

#[test]
fn what_is_unknown_or_wrong_is_refused_by_key() {
    for (key, value) in [
        ("colour", "red"),
        ("label.", "x"),
        ("size", "big"),
        ("inodes", "0"),
        ("uid", "4294967295"),
        ("mode", "0999"),
        ("selinux", "x"),
        ("ro", "perhaps"),
        ("access", "all"),
        ("fs", "ntfs"),
        ("type", "zfs"),
        ("mountpoint", "relative"),
        ("mountpoint", "/a/../etc"),
        ("device", "/dev/sda"),
        ("o", "suid"),
        ("password", "hunter2"),
    ] {
        let error = parse(&[(key, value)]).expect_err(key).to_string();
        assert!(error.contains(key), "{key}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for given in [
        &[("type", "directory"), ("size", "1G")][..],
        &[("type", "btrfs"), ("inodes", "5")],
        &[("type", "loop")],
        &[
            ("type", "loop"),
            ("fs", "xfs"),
            ("size", "1G"),
            ("inodes", "5"),
        ],
        &[("type", "quota")],
        &[("mountpoint", "/srv/x"), ("uid", "5")],
        &[("mountpoint", "/srv/x"), ("type", "loop")],
        &[("type", "nfs"), ("device", "host:/x"), ("size", "1G")],
        &[("type", "nfs"), ("device", ":/x")],
        &[("type", "nfs"), ("device", "host:/x"), ("password", "p")],
        &[("type", "directory"), ("fs", "ext4")],
    ] {
        assert!(parse(given).is_err(), "{given:?}");
    }
}

#[test]
fn forms_of_dockers_local_driver_are_understood() {
    let options = parse(&[
        ("type", "tmpfs"),
        ("device", "tmpfs"),
        ("o", "size=100m,uid=1000,mode=0700"),
    ])
    .expect("tmpfs");
    assert_eq!(options.kind, Some(Kind::Tmpfs));
    assert_eq!(
        (options.limits.bytes, options.owner.uid, options.owner.mode),
        (Some(100 << 20), Some(1000), Some(0o700))
    );
    let options =
        parse(&[("type", "none"), ("device", "/srv/data"), ("o", "bind,ro")]).expect("bind");
    assert_eq!(options.kind, Some(Kind::Bind("/srv/data".into())));
    assert!(options.read_only);
    let options = parse(&[
        ("type", "nfs"),
        ("device", ":/export"),
        ("o", "addr=10.0.0.1,rw,vers=4.2,soft"),
    ])
    .expect("nfs");
    let Some(Kind::Network(nfs)) = options.kind else {
        panic!("no network")
    };
    assert_eq!(
        (&*nfs.host, &*nfs.path, nfs.options.len()),
        ("10.0.0.1", "/export", 2)
    );
}

#[test]
fn a_password_is_masked_wherever_it_stands() {
    let given = [
        ("o", "username=me,password=hunter2,vers=3.0"),
        ("password", "hunter2"),
    ];
    let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let shown = format!("{:?}", without_secrets(&given.into()));
    assert!(
        !shown.contains("hunter2") && shown.contains("username=me"),
        "{shown}"
    );
}
