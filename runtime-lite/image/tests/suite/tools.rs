//! Side by side with real tools: what umoci, skopeo, GNU tar and gzip make and read. All from apt.

use std::fs;
use std::path::{Path, PathBuf};

use wharf_image::{Root, export_to};

use crate::support::{Place, Tree, in_private, tool};

/// Has umoci make an image of three layers with everything in it; returns the layout, and umoci's own view of it.
fn by_umoci(place: &Place) -> (PathBuf, PathBuf) {
    let dir = place.path("");
    let umoci = |words: &[&str]| tool("umoci", words, &dir);
    let root = place.path("bundle/rootfs");
    umoci(&["init", "--layout", "layout"]);
    umoci(&["new", "--image", "layout:1"]);
    let step = |change: &dyn Fn(&Path)| {
        umoci(&["unpack", "--image", "layout:1", "bundle"]);
        change(&root);
        umoci(&["repack", "--image", "layout:1", "bundle"]);
        fs::remove_dir_all(place.path("bundle")).expect("removed");
    };
    step(&|root| {
        let shell = "mkdir -p bin etc/sub data; cp /bin/busybox bin; ln bin/busybox bin/hard; ln -s busybox bin/sh; \
            mkfifo data/p; mknod data/null c 1 3; echo x >etc/gone; echo y >etc/sub/gone; chmod 4755 bin/busybox; \
            echo z >data/f; chown 12:34 data data/f; chmod 2770 data; setcap cap_net_raw+ep bin/hard; \
            touch -d '2001-02-03 04:05:06' data/f";
        tool("sh", &["-ec", shell], root);
    });
    step(&|root| {
        drop(tool(
            "sh",
            &[
                "-ec",
                "rm etc/gone; rm -r etc/sub; mkdir etc/sub; echo 2 >data/g",
            ],
            root,
        ))
    });
    step(&|root| {
        drop(tool(
            "sh",
            &["-ec", "rm bin/sh; ln -s hard bin/sh; echo 3 >etc/gone"],
            root,
        ))
    });
    umoci(&[
        "config",
        "--image",
        "layout:1",
        "--config.env",
        "A=1",
        "--config.volume",
        "/data",
    ]);
    umoci(&["unpack", "--image", "layout:1", "bundle"]);
    (place.path("layout"), root)
}

/// Whole seconds, which is what umoci writes.
fn in_seconds(line: &str) -> String {
    match line.split_once(" @") {
        Some((before, after)) => {
            let end = after.find('.').unwrap_or(after.len());
            let attributes = after.find(' ').map_or("", |at| &after[at..]);
            // umoci remembers what it deleted in an attribute of its own.
            let kept: Vec<&str> = attributes
                .split(' ')
                .filter(|word| !word.starts_with("user.rootlesscontainers"))
                .collect();
            format!("{before} @{}{}", &after[..end], kept.join(" "))
        }
        None => line.to_owned(),
    }
}

/// A folder's time, which umoci changes by unpacking into it.
fn without_folder_times(line: &str) -> String {
    let line = in_seconds(line);
    match line.starts_with("folder") {
        true => line.split(" @").next().unwrap_or_default().to_owned(),
        false => line,
    }
}

#[test]
fn an_image_looks_over_our_layers_as_umoci_unpacks_it() {
    in_private(|| {
        let place = Place::new();
        let (layout, theirs) = by_umoci(&place);
        let made = place.import(&layout).expect("imported");
        assert_eq!((made.unpacked, made.images[0].layers), (3, 3));
        let (root, image) =
            Root::create(&place.store(), "c1", made.images[0].names[0].as_str()).expect("made");
        assert!(image.defaults.volumes.contains("/data"));
        let ours = root.mount().expect("mounted");
        Tree::of(&ours).is(&Tree::of(&theirs), without_folder_times);
        root.unmount().expect("unmounted");
    });
}

#[test]
fn every_form_of_an_image_is_the_same_image() {
    let place = Place::new();
    let (_, _) = by_umoci(&place);
    let dir = place.path("");
    for (form, compress) in [
        ("docker-archive:d.tar:team/app:1", ""),
        ("oci-archive:o.tar:team/app:1", ""),
        ("docker-archive:g.tar:team/app:1", "gzip"),
        ("oci-archive:z.tar:team/app:1", "zstd"),
    ] {
        tool("skopeo", &["copy", "-q", "oci:layout:1", form], &dir);
        let mut file = form.split(':').nth(1).expect("a file").to_owned();
        if !compress.is_empty() {
            tool(compress, &["-q", &file], &dir);
            file.push_str(if compress == "gzip" { ".gz" } else { ".zst" });
        }
        place.import(&place.path(&file)).expect("imported");
    }
    let made = place.import(&place.path("layout")).expect("imported");
    assert_eq!(made.unpacked, 0);
    let images = place.store().list().expect("listed");
    assert!(
        images.iter().all(|image| image.layers == images[0].layers),
        "{images:?}"
    );
}

#[test]
fn an_export_is_the_same_bytes_each_time_and_the_same_image_everywhere() {
    let place = Place::new();
    let (_, theirs) = by_umoci(&place);
    let dir = place.path("");
    place.import(&place.path("layout")).expect("imported");
    let id = export_to(&place.store(), "layout:1", &place.path("a.tar"))
        .expect("exported")
        .id;
    export_to(&place.store(), "layout:1", &place.path("b.tar")).expect("exported");
    let bytes = fs::read(place.path("a.tar")).expect("read");
    assert!(
        bytes == fs::read(place.path("b.tar")).expect("read"),
        "two exports differ"
    );
    for form in ["docker-archive:a.tar", "oci-archive:a.tar"] {
        let config = tool("skopeo", &["inspect", "--config", "--raw", form], &dir);
        // skopeo may add a newline to what umoci ended with one.
        let bare = config.strip_suffix('\n').unwrap_or(&config);
        let digests = [config.as_str(), bare].map(|text| wharf_image::Digest::of(text.as_bytes()));
        assert!(digests.contains(&id), "{form}: {digests:?} is not {id}");
        tool("skopeo", &["copy", "-q", form, "oci:again:1"], &dir);
        tool(
            "umoci",
            &["unpack", "--image", "again:1", "bundle-again"],
            &dir,
        );
        Tree::of(&place.path("bundle-again/rootfs")).is(&Tree::of(&theirs), without_folder_times);
        fs::remove_dir_all(place.path("bundle-again")).expect("removed");
        fs::remove_dir_all(place.path("again")).expect("removed");
    }
    // Into an empty store, and out again: still the same bytes.
    let other = Place::new();
    fs::write(other.path("in.tar"), &bytes).expect("written");
    other.import(&other.path("in.tar")).expect("imported");
    export_to(&other.store(), "layout:1", &other.path("out.tar")).expect("exported");
    assert!(
        bytes == fs::read(other.path("out.tar")).expect("read"),
        "a round trip differs"
    );
}

#[test]
fn a_root_filesystem_of_gnu_tar_is_kept_whole() {
    let place = Place::new();
    let (_, source) = by_umoci(&place);
    for (words, file) in [
        (
            ["--format=pax", "--xattrs", "--xattrs-include=*", "-cf"],
            "root.tar",
        ),
        (
            ["--format=pax", "--xattrs", "--xattrs-include=*", "-czf"],
            "root.tar.gz",
        ),
        (
            ["--format=posix", "--zstd", "--xattrs-include=*", "-cf"],
            "root.tar.zst",
        ),
    ] {
        let archive = format!("../../{file}");
        let words = [&words[..], &[&archive, "."]].concat();
        tool("tar", &words, &source);
        let one = Place::new();
        let made = one.import(&place.path(file)).expect("imported");
        assert_eq!(made.images[0].names[0].as_str(), "root:latest");
        let (root, _) = Root::create(&one.store(), "c1", "root").expect("made");
        // GNU tar writes the times of folders in whole.
        Tree::of(&root.lowers()[0]).is(&Tree::of(&source), str::to_owned);
    }
}
