//! Repositories in buckets, on two real servers: moto's, and rclone's `serve s3` (tests/prepare installs both), over http and
//! over https; and servers that go away.

mod common;
#[path = "common/stores.rs"]
mod stores;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Lab, assert_same_world, assert_undamaged, plant, restore_latest, silent, subject};
use stores::{
    SECRET, Server, Wire, access, access_at, free_address, moto, rclone, rclone_on, restic_checks,
    with_secrets,
};
use wharfline_backup::{Filter, Policy, Repository};

fn everything_works(server: &Server, lab: &Lab) {
    let (tree, back) = (lab.directory("tree"), lab.directory("back"));
    plant(&tree);
    let repository = Repository::init(&access(server, lab)).expect("a repository");
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    std::fs::write(tree.join("new"), common::noise(9, 3 << 20)).expect("a file");
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a second backup");
    assert_undamaged(&repository);
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    let policy = Policy {
        last: Some(1),
        ..Policy::default()
    };
    assert_eq!(
        repository
            .forget(&policy, &Filter::default(), &silent())
            .expect("forgotten")
            .removed
            .len(),
        1
    );
    restic_checks(server);
}

#[test]
fn a_bucket_of_rclone_holds_a_repository() {
    let lab = Lab::new();
    everything_works(&rclone(&lab), &lab);
}

#[test]
fn a_bucket_of_moto_holds_a_repository() {
    let lab = Lab::new();
    everything_works(&moto(&lab, false), &lab);
}

#[test]
fn a_server_that_goes_away_is_named_in_time() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    plant(&tree);
    let server = rclone(&lab);
    let (access, endpoint) = (access(&server, &lab), server.endpoint.clone());
    let repository = Repository::init(&access).expect("a repository");
    drop(server);
    let begin = Instant::now();
    let refused = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect_err("nobody answers");
    assert!(refused.chain().contains(&endpoint), "{}", refused.chain());
    assert!(!refused.chain().contains(SECRET) && begin.elapsed() < Duration::from_secs(120));
}

#[test]
fn a_bucket_behind_a_certificate_of_a_given_authority_holds_a_repository() {
    let lab = Lab::new();
    everything_works(&rclone_on(&lab, free_address(), true), &lab);
    let lab = Lab::new();
    everything_works(&moto(&lab, true), &lab);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_at_once() {
    let lab = Lab::new();
    let server = rclone_on(&lab, free_address(), true);
    let begin = Instant::now();
    let refused = Repository::init(&access_at(&server.endpoint, None, &lab)).expect_err("unknown");
    let told = refused.chain();
    assert!(
        told.contains(&server.endpoint) && told.contains("certificate"),
        "{told}"
    );
    assert!(begin.elapsed() < Duration::from_secs(20), "{told}");
    let none = Some("no certificate".to_owned());
    let refused = Repository::init(&access_at(&server.endpoint, none, &lab)).expect_err("none");
    assert!(refused.chain().contains("PEM"), "{}", refused.chain());
}

/// One step of a process of its own, over a wire that breaks after so many bytes: it fails in time, and says whose fault it is.
fn breaks_over_a_wire(server: &Server, bytes: u64, words: &[&str]) {
    let wire = Wire::to(server.address, bytes);
    let begin = Instant::now();
    let mut example = with_secrets(Command::new(example()));
    let address = format!("s3:{}/bucket/some/prefix", wire.endpoint);
    let ended = example.args(words).arg(address).output();
    let ended = ended.expect("the example");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && wire.is_broken(),
        "{words:?}: {told}"
    );
    let spent = begin.elapsed();
    assert!(spent < Duration::from_secs(150), "{words:?}: {spent:?}");
    assert!(
        told.contains(&wire.endpoint) && !told.contains(SECRET),
        "{words:?}: {told}"
    );
}

/// Where cargo puts examples: beside the folder of the tests' own programs.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let built = test.ancestors().nth(2).expect("its folder's folder");
    built.join("examples/repository")
}

#[test]
fn a_server_that_goes_away_midway_is_named_harms_nothing_and_the_next_run_goes_on() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    plant(&tree);
    let server = rclone(&lab);
    let repository = Repository::init(&access(&server, &lab)).expect("a repository");
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a first backup");
    std::fs::write(tree.join("more"), common::noise(5, 12 << 20)).expect("a file");
    let path = tree.display().to_string();
    breaks_over_a_wire(&server, 6 << 20, &["backup", &path, "vol"]);
    let listed = repository.snapshots(&Filter::default()).expect("listed");
    assert_eq!(listed.len(), 1);
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("the next run");
    restic_checks(&server);

    breaks_over_a_wire(&server, 4 << 20, &["verify"]);
    assert_undamaged(&repository);

    let half = lab.directory("half").display().to_string();
    breaks_over_a_wire(&server, 4 << 20, &["restore", &half]);
    let back = lab.directory("back");
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    restic_checks(&server);
}
