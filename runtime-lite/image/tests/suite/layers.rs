//! What is in an archive is in its layer, with everything that the archive says of it; and the same archive comes out.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;
use tar::EntryType;
use wharf_image::export;

use crate::support::{Archive, Place, Tree, docker_archive, header};

/// Security attributes are little-endian structures (linux/capability.h): version 2, cap_net_raw effective.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn owners_modes_times_and_attributes_are_kept() {
    let place = Place::new();
    let mut setuid = header(EntryType::Regular, "bin/su", "", 1);
    setuid.set_mode(0o6755);
    setuid.set_uid(12);
    setuid.set_gid(3_000_000_000);
    setuid.set_cksum();
    let archive = Archive::new()
        .folder("bin")
        .pax(&[
            ("mtime", b"12.000000034"),
            ("SCHILY.xattr.security.capability", CAPABILITY),
            ("SCHILY.xattr.user.n", b"a\n\0b"),
        ])
        .raw(setuid.as_bytes())
        .raw(&[b'x'; 512]);
    let tree = Tree::of(&place.layer(&archive.bytes()));
    let line = tree.line("bin/su");
    assert!(
        line.contains(" 6755 12:3000000000 @12.000000034 "),
        "{line}"
    );
    assert!(
        line.contains("security.capability=") && line.contains(r#"user.n="a\n\0b""#),
        "{line}"
    );
    assert!(
        tree.line("bin").contains("@1000000000.000000000"),
        "{}",
        tree.line("bin")
    );
}

#[test]
fn numbers_that_were_left_blank_are_zero() {
    let place = Place::new();
    let mut blank = header(EntryType::Regular, "x", "", 0);
    let old = blank.as_old_mut();
    (old.uid, old.gid, old.mtime, old.size) = ([0; 8], [b' '; 8], [0; 12], [b' '; 12]);
    blank.set_cksum();
    let tree = Tree::of(&place.layer(&Archive::new().raw(blank.as_bytes()).bytes()));
    assert!(
        tree.line("x").ends_with(" 0644 0:0 @0.000000000"),
        "{tree:?}"
    );
}

#[test]
fn an_archive_may_end_right_behind_its_last_contents() {
    let place = Place::new();
    let whole = Archive::new().file("x", "contents").bytes();
    let layer = place.layer(&whole[..512 + "contents".len()]);
    assert_eq!(
        fs::read_to_string(layer.join("x")).expect("read"),
        "contents"
    );
    let mut out = Vec::new();
    export(&place.store(), "layer", &mut out).expect("its digest is checked");
}

#[test]
fn devices_fifos_and_links_are_kept() {
    let place = Place::new();
    let mut device = header(EntryType::Block, "disk", "", 0);
    device.set_device_major(259).expect("set");
    device.set_device_minor(70_000).expect("set");
    device.set_cksum();
    let archive = Archive::new()
        .raw(device.as_bytes())
        .entry(EntryType::Fifo, "pipe", "", b"")
        .file("a", "one")
        .hardlink("b", "./a")
        .hardlink("c", "/b")
        .symlink("d", "../../anywhere");
    let tree = Tree::of(&place.layer(&archive.bytes()));
    assert!(
        tree.line("disk").starts_with("b 259:70000"),
        "{}",
        tree.line("disk")
    );
    assert!(
        tree.line("pipe").starts_with("p 0:0"),
        "{}",
        tree.line("pipe")
    );
    assert!(tree.line("c").ends_with("same as a"), "{}", tree.line("c"));
    assert!(tree.line("d").starts_with("link to ../../anywhere"));
}

#[test]
fn whiteouts_become_overlayfs_and_leave_the_layers_own_files() {
    let place = Place::new();
    let archive = Archive::new()
        .folder("etc")
        .file("etc/.wh.gone", "")
        .file("etc/kept", "")
        .file("etc/.wh.kept", "")
        .folder("own")
        .file("own/file", "")
        .file(".wh.own", "")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.later", "")
        .folder("later")
        .file(".wh..wh.plnk", "aufs");
    let tree = Tree::of(&place.layer(&archive.bytes()));
    assert!(tree.line("etc/gone").starts_with("c 0:0"), "{tree:?}");
    assert!(tree.line("etc/kept").starts_with("file 0"), "{tree:?}");
    for folder in ["own", "opaque", "later"] {
        assert!(
            tree.line(folder).contains(r#"trusted.overlay.opaque="y""#),
            "{tree:?}"
        );
    }
    assert!(tree.line("own/file").starts_with("file"), "{tree:?}");
    assert!(
        !tree.names().iter().any(|name| name.contains(".wh.")),
        "{tree:?}"
    );
}

#[test]
fn a_folder_without_an_entry_looks_as_in_the_layer_below() {
    let place = Place::new();
    let mut private = header(EntryType::Directory, "srv", "", 0);
    private.set_mode(0o700);
    private.set_uid(33);
    private.set_cksum();
    let below = Archive::new()
        .pax(&[("SCHILY.xattr.user.x", b"1")])
        .raw(private.as_bytes())
        .file("srv/a", "")
        .bytes();
    let other = Archive::new().folder("srv").bytes();
    let above = Archive::new().file("srv/b", "").file("new/c", "").bytes();
    let import = |layers: &[Vec<u8>], tag: &str| {
        let archive = String::from_utf8_lossy(&docker_archive(layers, json!({}))).into_owned();
        let file = place.path(tag);
        // Of the same length, so that no checksum changes.
        fs::write(
            &file,
            archive.replace("test/image:1", &format!("test/image:{tag}")),
        )
        .expect("written");
        place.import(&file).expect("imported").images[0].names[0].clone()
    };
    let srv = |container: &str, name: &str| {
        let (root, _) = wharf_image::Root::create(&place.store(), container, name).expect("made");
        let top = root.lowers().last().expect("a layer").clone();
        Tree::of(&top).line("srv").to_owned()
    };
    let first = import(&[below, above.clone()], "1");
    let second = import(&[other, above], "2");
    let line = srv("one", first.as_str());
    assert!(
        line.contains(r#" 0700 33:0 @1000000000.000000000 user.x="1""#),
        "{line}"
    );
    // The same layer over another one looks as that one does.
    let line = srv("two", second.as_str());
    assert!(line.contains(" 0755 0:0 @1000000000.000000000"), "{line}");
}

#[test]
fn a_later_entry_counts_and_the_archive_still_comes_out_as_it_was() {
    let place = Place::new();
    let layer = Archive::new()
        .file("x", "first")
        .hardlink("y", "x")
        .file("x", "second")
        .file("x", "third")
        .symlink("z", "x")
        .file("z", "no link")
        .bytes();
    // What follows an archive's end belongs to its digest.
    let layer = [layer, vec![7; 100]].concat();
    let files = place.layer(&layer);
    assert_eq!(fs::read_to_string(files.join("x")).expect("read"), "third");
    assert_eq!(fs::read_to_string(files.join("y")).expect("read"), "first");
    let mut out = Vec::new();
    export(&place.store(), "layer", &mut out).expect("its digest is checked");
}

#[test]
fn sparse_files_stay_sparse_in_every_form_of_gnu_tar() {
    for form in [
        "--format=gnu",
        "--format=pax",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
    ] {
        let place = Place::new();
        let source = place.path("source");
        fs::create_dir(&source).expect("made");
        let file = fs::File::create(source.join("sparse")).expect("made");
        file.set_len(30 << 20).expect("extended");
        for part in 0..60_u64 {
            std::os::unix::fs::FileExt::write_all_at(&file, b"data", part * (1 << 19) + 17)
                .expect("written");
        }
        let words: Vec<&str> = ["--sparse", "-cf", "../sparse.tar"]
            .into_iter()
            .chain(form.split(' '))
            .chain(["."])
            .collect();
        crate::support::tool("tar", &words, &source);
        let archive = fs::read(place.path("sparse.tar")).expect("read");
        assert!(archive.len() < 1 << 20, "tar wrote {} bytes", archive.len());
        let layer = place.layer(&archive);
        let about = fs::metadata(layer.join("sparse")).expect("there");
        assert!(
            about.blocks() * 512 < 1 << 20,
            "{form}: {} blocks",
            about.blocks()
        );
        // Its own form has whole seconds only.
        let in_seconds = |line: &str| line.split('.').next().unwrap_or_default().to_owned();
        Tree::of(&layer).is(&Tree::of(&source), in_seconds);
        let mut out = Vec::new();
        export(&place.store(), "layer", &mut out).expect("its digest is checked");
    }
}

#[test]
fn long_names_are_kept_in_every_form_of_gnu_tar() {
    for form in ["--format=gnu", "--format=pax"] {
        let place = Place::new();
        let source = place.path("source");
        let deep = source.join(
            ["d".repeat(200), "e".repeat(200), "f".repeat(250)]
                .iter()
                .collect::<std::path::PathBuf>(),
        );
        fs::create_dir_all(&deep).expect("made");
        fs::write(deep.join("file"), "x").expect("written");
        std::os::unix::fs::symlink("t".repeat(3000), source.join("link")).expect("made");
        fs::hard_link(deep.join("file"), deep.join("second")).expect("linked");
        crate::support::tool("tar", &[form, "-cf", "../long.tar", "."], &source);
        let layer = place.layer(&fs::read(place.path("long.tar")).expect("read"));
        Tree::of(&layer).is(&Tree::of(&source), |line| {
            line.split(" @").next().unwrap_or_default().to_owned()
        });
    }
}
