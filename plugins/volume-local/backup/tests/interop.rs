//! The stock `restic` program reads, checks and restores what we write, and we what it writes.

mod common;

use common::{
    Lab, allocated, assert_same_world, assert_undamaged, plant, restore_latest, silent, subject,
};
use wharfline_backup::Filter;

#[test]
fn everything_survives_our_own_restore_and_holes_stay_holes() {
    let lab = Lab::new();
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    let repository = lab.init();
    let backup = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    assert_eq!(backup.parent, None);
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    assert!(
        allocated(&back.join("sparse")) < 1 << 20,
        "{} bytes allocated",
        allocated(&back.join("sparse"))
    );
}

#[test]
fn restic_checks_and_restores_what_we_wrote() {
    let lab = Lab::new();
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    lab.init()
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    lab.restic_checks();
    lab.restic(&["restore", "latest", "--target", &back.display().to_string()]);
    // What restic itself leaves out: it makes no sockets, and gives links no attributes and a device its own mode.
    std::fs::remove_file(tree.join("socket")).expect("the socket");
    let mut expected = common::world(&tree);
    let mut found = common::world(&back.join("vol"));
    for path in ["", "dangling"] {
        expected.remove(std::path::Path::new(path));
        found.remove(std::path::Path::new(path));
    }
    assert_eq!(expected, found);
}

#[test]
fn we_restore_what_restic_wrote() {
    let lab = Lab::new();
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    for (name, why) in [
        ("dangling", "restic keeps no attributes of links"),
        ("socket", "restic keeps no sockets"),
    ] {
        std::fs::remove_file(tree.join(name)).expect(why);
    }
    lab.restic(&["init"]);
    lab.restic(&["backup", &tree.display().to_string()]);
    let repository = lab.open();
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    assert_undamaged(&repository);
}

#[test]
fn both_write_to_one_repository_and_share_its_blobs() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    plant(&tree);
    lab.restic(&["init"]);
    lab.restic(&["backup", &tree.display().to_string()]);
    let repository = lab.open();
    let backup = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    assert!(
        backup.snapshot.added.is_some_and(|added| added < 100_000),
        "{:?}",
        backup.snapshot.added
    );
    lab.restic(&["backup", &tree.display().to_string()]);
    lab.restic_checks();
    assert_eq!(
        repository
            .snapshots(&Filter::default())
            .expect("snapshots")
            .len(),
        3
    );
    let ours = Filter {
        volume: Some("vol".to_owned()),
        ..Filter::default()
    };
    assert_eq!(repository.snapshots(&ours).expect("snapshots").len(), 1);
    lab.restic(&["forget", "--keep-last", "1", "--prune"]);
    assert_undamaged(&repository);
}

#[test]
fn a_second_backup_reads_only_what_changed() {
    let lab = Lab::new();
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    let repository = lab.init();
    let first = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    std::fs::write(tree.join("new"), "new").expect("a file");
    let second = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    assert_eq!(second.parent.as_deref(), Some(first.snapshot.id.as_str()));
    assert!(
        second.snapshot.added.is_some_and(|added| added < 20_000),
        "{:?}",
        second.snapshot.added
    );
    let other = repository
        .backup(subject(&tree, "another"), &silent())
        .expect("a backup");
    assert_eq!(other.parent, None, "another volume is no parent");
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    let found = repository
        .snapshot(&first.snapshot.id[..8], &Filter::default())
        .expect("the first");
    assert_eq!(found.id, first.snapshot.id);
}
