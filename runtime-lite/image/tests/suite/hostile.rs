//! Archives that lie, lead outside or never end: each is refused whole, or stays in its layer.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::EntryType;
use wharf_image::Limits;

use crate::support::{Archive, Place, Tree, docker_archive, header};

#[test]
fn dotdot_in_a_name_is_refused() {
    for name in ["../outside/precious", "a/../../outside/x", "/../x", ".."] {
        Place::new().refuses(&Archive::new().file(name, "x").bytes(), "leads outside");
    }
}

#[test]
fn dotdot_in_a_long_name_is_refused() {
    let long = format!("{}/../../../outside/x", "a".repeat(120));
    let archive = Archive::new()
        .pax(&[("path", long.as_bytes())])
        .file("short", "x");
    Place::new().refuses(&archive.bytes(), "leads outside");
}

#[test]
fn an_absolute_name_is_one_below_the_layers_root() {
    let place = Place::new();
    let inside = place.path("outside/made").display().to_string();
    let layer = place.layer(&Archive::new().file(&inside, "x").bytes());
    assert!(layer.join(inside.trim_start_matches('/')).exists());
    assert!(!place.path("outside/made").exists());
}

#[test]
fn a_file_below_an_absolute_symlink_stays_in_the_layer() {
    let place = Place::new();
    let target = place.path("outside").display().to_string();
    let archive = Archive::new()
        .symlink("way", &target)
        .file("way/made", "x")
        .bytes();
    let file = place.path("hostile.tar");
    fs::write(&file, archive).expect("written");
    // The link leads to a folder that the layer does not have.
    place.refuses_file(
        &file,
        Limits::default(),
        "has files below it, and is no folder",
    );
    assert!(!place.path("outside/made").exists());
}

#[test]
fn a_file_below_a_symlink_is_written_where_it_leads_within_the_layer() {
    let place = Place::new();
    let archive = Archive::new()
        .folder("usr/bin")
        .symlink("bin", "/usr/bin")
        .file("bin/x", "x");
    let layer = place.layer(&archive.bytes());
    assert!(layer.join("usr/bin/x").exists());
}

#[test]
fn a_symlink_of_many_dotdots_stays_in_the_layer() {
    let place = Place::new();
    let up = "../".repeat(20);
    let archive = Archive::new()
        .folder("here")
        .symlink("way", &format!("{up}here"))
        .file("way/x", "x");
    let layer = place.layer(&archive.bytes());
    assert!(layer.join("here/x").exists());
}

#[test]
fn a_file_over_a_symlink_replaces_the_link_and_not_its_target() {
    let place = Place::new();
    let target = place.path("outside/precious").display().to_string();
    let layer = place.layer(
        &Archive::new()
            .symlink("x", &target)
            .file("x", "new")
            .bytes(),
    );
    assert_eq!(fs::read_to_string(layer.join("x")).expect("read"), "new");
    assert_eq!(
        fs::read_to_string(place.path("outside/precious")).expect("read"),
        "untouched"
    );
}

#[test]
fn attributes_of_a_folder_over_a_symlink_do_not_reach_its_target() {
    let place = Place::new();
    let before = Tree::of(&place.path("outside"));
    let target = place.path("outside").display().to_string();
    let layer = place.layer(&Archive::new().symlink("x", &target).folder("x").bytes());
    assert!(
        fs::symlink_metadata(layer.join("x"))
            .expect("there")
            .is_dir()
    );
    assert_eq!(Tree::of(&place.path("outside")), before);
}

#[test]
fn a_hard_link_to_a_file_outside_is_refused() {
    let place = Place::new();
    let target = place.path("outside/precious").display().to_string();
    place.refuses(
        &Archive::new().hardlink("x", &target).bytes(),
        "which is not there",
    );
    place.refuses(
        &Archive::new()
            .hardlink("x", "../../../../outside/precious")
            .bytes(),
        "leads outside",
    );
    let through = Archive::new()
        .symlink("way", "../../../../../outside")
        .hardlink("x", "way/precious");
    place.refuses(&through.bytes(), "which is not there");
}

#[test]
fn a_hard_link_to_a_symlink_is_one_to_the_link_itself() {
    let place = Place::new();
    let target = place.path("outside/precious").display().to_string();
    let layer = place.layer(
        &Archive::new()
            .symlink("a", &target)
            .hardlink("b", "a")
            .bytes(),
    );
    assert!(
        fs::symlink_metadata(layer.join("b"))
            .expect("there")
            .is_symlink()
    );
}

#[test]
fn a_whiteout_of_dotdot_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        Place::new().refuses(
            &Archive::new().file(name, "").bytes(),
            "whiteout of no name",
        );
    }
}

#[test]
fn attributes_that_would_redirect_the_overlay_are_left_out() {
    let place = Place::new();
    let archive = Archive::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.metacopy", b""),
            ("SCHILY.xattr.user.kept", b"yes"),
        ])
        .folder("x");
    let line = Tree::of(&place.layer(&archive.bytes()))
        .line("x")
        .to_owned();
    assert!(line.ends_with(r#" user.kept="yes""#), "{line}");
}

#[test]
fn a_million_entries_and_one_are_refused() {
    // The bound itself is moved: a test of the real one takes a minute.
    let place = Place::new();
    let mut archive = Archive::new();
    for number in 0..1001 {
        archive = archive.folder(&format!("folder-{number}"));
    }
    let file = place.path("many.tar");
    fs::write(&file, archive.bytes()).expect("written");
    let limits = Limits {
        entries: 1000,
        ..Limits::default()
    };
    place.refuses_file(&file, limits, "the number of a layer's entries");
    assert_eq!(Limits::default().entries, 1_000_000);
}

#[test]
fn a_sparse_file_of_exbibytes_is_refused() {
    let map = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"huge"),
        ("GNU.sparse.realsize", b"9223372036854775807"),
    ];
    let mut contents = b"1\n0\n1\n".to_vec();
    contents.resize(512, 0);
    contents.push(b'x');
    let archive =
        Archive::new()
            .pax(&map)
            .entry(EntryType::Regular, "GNUSparseFile.0/huge", "", &contents);
    Place::new().refuses(
        &archive.bytes(),
        "the size of a layer is more than is taken",
    );
}

#[test]
fn a_sparse_map_that_overlaps_or_lies_is_refused() {
    for (map, words) in [
        ("2\n0\n10\n5\n10\n", "sparse map that can't be"),
        ("1\n0\n99999\n", "sparse map that can't be"),
        ("1\n18446744073709551615\n1\n", "sparse map that can't be"),
        ("99999999\n", "sparse parts"),
        ("1\n0\n", "without an end"),
    ] {
        let records = [
            ("GNU.sparse.major", &b"1"[..]),
            ("GNU.sparse.realsize", b"100"),
            ("GNU.sparse.name", b"x"),
        ];
        let mut contents = map.as_bytes().to_vec();
        contents.resize(512, 0);
        let archive = Archive::new()
            .pax(&records)
            .entry(EntryType::Regular, "x", "", &contents);
        Place::new().refuses(&archive.bytes(), words);
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_bound() {
    let place = Place::new();
    let file = place.path("bomb.tar.gz");
    let mut bomb = GzEncoder::new(fs::File::create(&file).expect("made"), Compression::best());
    bomb.write_all(header(EntryType::Regular, "zeros", "", 1 << 25).as_bytes())
        .expect("written");
    let zeros = vec![0; 1 << 20];
    for _ in 0..=32 {
        bomb.write_all(&zeros).expect("written");
    }
    bomb.finish().expect("finished");
    let limits = Limits {
        layer_bytes: 10 << 20,
        ..Limits::default()
    };
    place.refuses_file(&file, limits, "decompressed archive is more than is taken");
}

#[test]
fn a_compressed_layer_that_never_ends_stops_at_the_bound() {
    let place = Place::new();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    // Endless zeros after the archive's end: no file, and yet all has to be read for the digest.
    bomb.write_all(&vec![0; 8 << 20]).expect("written");
    let archive = docker_archive(&[bomb.finish().expect("finished")], json!({}));
    let file = place.path("bomb.tar");
    fs::write(&file, archive).expect("written");
    let limits = Limits {
        layer_bytes: 1 << 20,
        ..Limits::default()
    };
    place.refuses_file(&file, limits, "the size of a layer is more than is taken");
}

#[test]
fn a_full_filesystem_is_never_reached() {
    let place = Place::new();
    let file = place.path("small.tar");
    fs::write(&file, Archive::new().file("x", "x").bytes()).expect("written");
    let limits = Limits {
        // All of it has to stay free.
        free_part: 1,
        ..Limits::default()
    };
    place.refuses_file(&file, limits, "of it stays free");
}

#[test]
fn sizes_that_lie_are_refused() {
    let beyond = header(EntryType::Regular, "x", "", 1 << 40);
    Place::new().refuses(&Archive::new().raw(beyond.as_bytes()).bytes(), "");
    let folder = Archive::new().entry(EntryType::Directory, "x", "", b"contents");
    Place::new().refuses(&folder.bytes(), "has contents, and is no file");
    let overflow = Archive::new()
        .pax(&[("size", b"18446744073709551615")])
        .file("x", "");
    Place::new().refuses(&overflow.bytes(), "size");
    let lies = Archive::new()
        .pax(&[("size", b"1000000")])
        .file("x", "short");
    Place::new().refuses(&lies.bytes(), "");
}

#[test]
fn an_extended_header_of_gigabytes_is_refused() {
    for kind in [
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::GNULongName,
    ] {
        let header = header(kind, "x", "", 4 << 30);
        Place::new().refuses(
            &Archive::new().raw(header.as_bytes()).bytes(),
            "extended header of",
        );
    }
}

#[test]
fn owners_and_types_that_can_not_be_are_refused() {
    for (record, words) in [
        ("uid", "has the uid 4294967295"),
        ("gid", "has the gid 4294967295"),
    ] {
        let archive = Archive::new().pax(&[(record, b"4294967295")]).file("x", "");
        Place::new().refuses(&archive.bytes(), words);
    }
    let odd = Archive::new().entry(EntryType::new(b'Z'), "x", "", b"");
    Place::new().refuses(&odd.bytes(), "unknown type");
}

#[test]
fn a_file_where_a_full_folder_is_is_refused() {
    let archive = Archive::new().folder("x").file("x/y", "").file("x", "");
    Place::new().refuses(&archive.bytes(), "would replace a folder that is not empty");
}

#[test]
fn an_archive_cut_off_anywhere_leaves_nothing() {
    let place = Place::new();
    let layer = Archive::new()
        .folder("a")
        .file("a/b", &"x".repeat(2000))
        .symlink("c", "a/b")
        .bytes();
    let whole = docker_archive(&[layer], json!({}));
    let file = place.path("cut.tar");
    for cut in (0..whole.len() - 2048).step_by(509) {
        fs::write(&file, &whole[..cut]).expect("written");
        match place.import(&file) {
            Err(_) => {}
            // Before its manifest it is an archive of files like any other; that is what it becomes then.
            Ok(made) => {
                for image in made.images {
                    place
                        .store()
                        .remove(image.names[0].as_str())
                        .expect("removed");
                }
            }
        }
        assert_eq!(Tree::of(&place.path("lib/images/layers")).names(), [""; 0]);
        assert_eq!(Tree::of(&place.path("lib/images/tmp")).names(), [""; 0]);
    }
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let place = Place::new();
    let good = docker_archive(&[Archive::new().file("x", "good").bytes()], json!({}));
    let at = good
        .windows(4)
        .position(|window| window == b"good")
        .expect("there");
    let mut bad = good.clone();
    bad[at..at + 4].copy_from_slice(b"evil");
    place.refuses(&bad, "should have the digest");
}

#[test]
fn a_manifest_that_leads_out_of_its_archive_is_refused() {
    for path in ["../../etc/passwd", "/etc/passwd", "missing"] {
        let manifest = json!([{"Config": path, "RepoTags": null, "Layers": []}]);
        let archive = Archive::new().file("manifest.json", &manifest.to_string());
        Place::new().refuses(&archive.bytes(), "is not in the archive");
    }
}

#[test]
fn a_layout_with_links_out_of_it_is_refused() {
    let place = Place::new();
    let layout = place.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("made");
    std::os::unix::fs::symlink(place.path("outside/precious"), layout.join("index.json"))
        .expect("made");
    place.refuses_file(&layout, Limits::default(), "neither manifest.json");
    fs::remove_file(layout.join("index.json")).expect("removed");
    nix::unistd::mkfifo(&layout.join("index.json"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    place.refuses_file(&layout, Limits::default(), "is no regular file");
}

#[test]
fn more_layers_than_the_kernel_stacks_are_refused() {
    let digest = wharf_image::Digest::of(b"");
    let config = json!({"os": "linux", "rootfs": {"diff_ids": vec![digest; 501]}});
    let manifest = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": vec!["l"; 501]}]);
    let archive = Archive::new()
        .file("c", &config.to_string())
        .file("manifest.json", &manifest.to_string());
    Place::new().refuses(&archive.bytes(), "has more than 500 layers");
}
