//! Roots over images on the real overlayfs: what containers see, what a commit takes, what fills a volume.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::json;
use tar::EntryType;
use wharf_image::{Name, Packed, Root, Words, fill};

use crate::support::{Archive, Place, Tree, docker_archive, header, in_private};

/// Two layers: the second hides, replaces and adds.
fn image(place: &Place) {
    let below = Archive::new()
        .folder("./")
        .folder("etc")
        .file("etc/gone", "x")
        .file("etc/kept", "below")
        .folder("opaque")
        .file("opaque/below", "x")
        .bytes();
    let above = Archive::new()
        .folder("etc")
        .file("etc/.wh.gone", "")
        .file("etc/kept", "above")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/above", "x")
        .bytes();
    let file = place.path("image.tar");
    let config = json!({"Env": ["A=1"], "Volumes": {"/data": {}}});
    fs::write(&file, docker_archive(&[below, above], config)).expect("written");
    place.import(&file).expect("imported");
}

#[test]
fn a_root_shows_the_layers_as_one_and_takes_what_is_written() {
    in_private(|| {
        let place = Place::new();
        image(&place);
        let before = Tree::of(&place.path("lib/images/layers"));
        let (root, image) = Root::create(&place.store(), "c1", "image:1").expect("made");
        assert_eq!(image.defaults.env, ["A=1"]);
        let merged = root.mount().expect("mounted");
        assert_eq!(root.mount().expect("mounted already"), merged);
        let names = ["etc", "etc/kept", "opaque", "opaque/above"];
        assert_eq!(Tree::of(&merged).names(), names);
        assert_eq!(
            fs::read_to_string(merged.join("etc/kept")).expect("read"),
            "above"
        );
        fs::write(merged.join("etc/kept"), "mine").expect("written");
        fs::remove_file(merged.join("opaque/above")).expect("removed");
        root.unmount().expect("unmounted");
        root.unmount().expect("unmounted already");
        assert_eq!(Tree::of(&merged).names(), [""; 0]);
        assert_eq!(
            fs::read_to_string(root.upper().join("etc/kept")).expect("read"),
            "mine"
        );
        // It is still there when it is mounted again, and the layers are as they were.
        let merged = root.mount().expect("mounted");
        assert_eq!(
            fs::read_to_string(merged.join("etc/kept")).expect("read"),
            "mine"
        );
        root.remove(&place.store()).expect("removed");
        assert_eq!(Tree::of(&place.path("lib/images/layers")), before);
        assert_eq!(Tree::of(&place.path("lib/roots")).names(), [""; 0]);
    });
}

#[test]
fn a_root_of_three_hundred_layers_mounts() {
    in_private(|| {
        let place = Place::new();
        let layers: Vec<Vec<u8>> = (0..300)
            .map(|number| Archive::new().file(&format!("file-{number}"), "").bytes())
            .collect();
        let file = place.path("deep.tar");
        fs::write(&file, docker_archive(&layers, json!({}))).expect("written");
        place.import(&file).expect("imported");
        let (root, _) = Root::create(&place.store(), "c1", "image:1").expect("made");
        let merged = root.mount().expect("mounted");
        assert_eq!(Tree::of(&merged).names().len(), 300);
        root.unmount().expect("unmounted");
    });
}

#[test]
fn a_commit_is_an_image_that_looks_as_the_container_did() {
    in_private(|| {
        let place = Place::new();
        let store = place.store();
        image(&place);
        let (root, base) = Root::create(&store, "c1", "image:1").expect("made");
        let merged = root.mount().expect("mounted");
        change(&merged);
        let seen = Tree::of(&merged);
        let name = Name::parse("mine").expect("a name");
        let created = "2026-01-02T03:04:05Z";
        let commit = || {
            let mut silent = ();
            let packed = Packed::of_root(&store, &root, &mut silent).expect("packed");
            let words = Words {
                created: created.to_owned(),
                container: root.id().to_owned(),
                ..Words::default()
            };
            packed.publish(&store, &name, &words).expect("committed")
        };
        let made = commit();
        assert_eq!(made.left_out, ["socket"]);
        let again = commit();
        assert_eq!(made.id, again.id);
        let (copy, image) = Root::create(&store, "c2", "mine").expect("made");
        assert_eq!(image.defaults, base.defaults);
        assert_eq!(
            (image.layers.len(), image.created.as_deref()),
            (3, Some(created))
        );
        let merged = copy.mount().expect("mounted");
        let without_socket = |line: &str| {
            if line.starts_with("p 0:0 0755") {
                String::new()
            } else {
                line.to_owned()
            }
        };
        Tree::of(&merged).is(&seen, without_socket);
        root.unmount()
            .and_then(|()| copy.unmount())
            .expect("unmounted");
    });
}

/// Everything that a layer can say.
fn change(merged: &std::path::Path) {
    let at = |name: &str| merged.join(name);
    fs::write(at("new"), "x").expect("written");
    fs::set_permissions(at("new"), fs::Permissions::from_mode(0o4711)).expect("set");
    chown(at("new"), Some(7), Some(8)).expect("set");
    let mode = fs::metadata(at("new")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o711, "chown keeps no setuid");
    fs::set_permissions(at("new"), fs::Permissions::from_mode(0o4711)).expect("set");
    let file = fs::File::open(at("new")).expect("opened");
    rustix::fs::fsetxattr(&file, "user.a", b"\0\n1", rustix::fs::XattrFlags::empty()).expect("set");
    fs::hard_link(at("new"), at("second")).expect("linked");
    symlink("nowhere/".repeat(30), at("link")).expect("made");
    fs::remove_file(at("etc/kept")).expect("removed");
    fs::remove_dir_all(at("opaque")).expect("removed");
    fs::create_dir(at("opaque")).expect("made");
    let long = "n".repeat(250);
    fs::create_dir(at(&long)).expect("made");
    fs::write(at(&long).join(&long), "x").expect("written");
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let old = fs::File::options()
        .write(true)
        .open(at("new"))
        .expect("opened");
    let time = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1250);
    old.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))
        .expect("set");
    std::os::unix::net::UnixListener::bind(at("socket")).expect("bound");
    fs::set_permissions(at("socket"), fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn an_images_data_fills_a_new_volume_and_only_a_new_one() {
    in_private(|| {
        let place = Place::new();
        let mut data = header(EntryType::Directory, "data", "", 0);
        data.set_mode(0o2750);
        data.set_uid(999);
        data.set_cksum();
        let layer = Archive::new()
            .raw(data.as_bytes())
            .pax(&[("SCHILY.xattr.user.x", b"1")])
            .file("data/file", "x")
            .hardlink("data/second", "data/file")
            .file("data/.hidden", "")
            .symlink("data/link", "/etc/passwd")
            .entry(EntryType::Fifo, "data/pipe", "", b"")
            .symlink("way", "/data")
            .symlink("out", "../../../../../../../../outside")
            .bytes();
        let file = place.path("volume.tar");
        fs::write(&file, docker_archive(&[layer], json!({}))).expect("written");
        place.import(&file).expect("imported");
        let store = place.store();
        let (root, _) = Root::create(&store, "c1", "image:1").expect("made");
        let merged = root.mount().expect("mounted");
        for (number, path) in ["/data", "/way", "data/"].iter().enumerate() {
            let volume = place.path(&format!("volume-{number}"));
            fs::create_dir(&volume).expect("made");
            assert!(
                fill(&store, &merged, path, &volume).expect("filled"),
                "{path}"
            );
            Tree::of(&volume).is(&Tree::of(&merged.join("data")), str::to_owned);
            let about = Tree::of(&place.path(""))
                .line(&format!("volume-{number}"))
                .to_owned();
            assert!(
                about.starts_with("folder 2750 999:0 @1000000000"),
                "{about}"
            );
            fs::remove_file(volume.join("file")).expect("removed");
            assert!(!fill(&store, &merged, path, &volume).expect("left alone"));
            assert!(!volume.join("file").exists());
        }
        let volume = place.path("empty");
        fs::create_dir(&volume).expect("made");
        for path in ["/missing", "/data/file", "/out"] {
            assert!(
                !fill(&store, &merged, path, &volume).expect("left alone"),
                "{path}"
            );
        }
        assert_eq!(Tree::of(&volume).names(), [""; 0]);
        root.unmount().expect("unmounted");
    });
}
