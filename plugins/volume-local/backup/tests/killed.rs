//! SIGKILL at many moments: earlier backups stay whole, and the next command converges.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Lab, PASSWORD, assert_same_world, is_locked, noise, silent, stored};
use wharfline_backup::Filter;

/// The example `repository`, which is built with the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    tests
        .ancestors()
        .nth(2)
        .expect("the target's folder")
        .join("examples/repository")
}

fn start(lab: &Lab, words: &[&str]) -> Child {
    let mut command = Command::new(program());
    command
        .args(words)
        .arg(lab.path("repository"))
        .env("RESTIC_PASSWORD", PASSWORD);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the example")
}

fn finish(lab: &Lab, words: &[&str]) {
    assert!(
        start(lab, words).wait().expect("its end").success(),
        "{words:?}"
    );
}

/// Kills it after a time; says whether it was still there.
fn killed_after(mut child: Child, time: Duration) -> bool {
    // Nothing ever comes: it is the wait for a moment that is meant.
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
    let alive = child.try_wait().expect("its state").is_none();
    child.kill().expect("killed");
    child.wait().expect("its end");
    alive
}

fn duration(lab: &Lab, words: &[&str]) -> Duration {
    let begin = Instant::now();
    finish(lab, words);
    begin.elapsed()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_killed_backup_harms_nothing_and_the_next_goes_on_from_it() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    fs::write(tree.join("old"), noise(1, 3 << 20)).expect("a file");
    lab.init();
    let words = ["backup", &text(&tree), "vol"];
    finish(&lab, &words);
    fs::write(tree.join("new"), noise(2, 60 << 20)).expect("a file");
    let whole = duration(&lab, &["backup", &text(&tree), "timed"]);
    let mut alive = 0;
    for moment in 1..=12u32 {
        fs::write(tree.join("new"), noise(100 + u64::from(moment), 60 << 20)).expect("a file");
        alive += u32::from(killed_after(start(&lab, &words), whole * moment / 12));
        let repository = lab.open();
        assert!(
            repository
                .verify(&silent())
                .expect("verified")
                .damages
                .is_empty(),
            "moment {moment}"
        );
    }
    assert!(alive >= 6, "only {alive} were killed");
    let packs = stored(&lab, "data").len();
    finish(&lab, &words);
    lab.restic_checks();
    assert!(
        stored(&lab, "locks").is_empty(),
        "a lock of the dead was left"
    );
    let back = lab.directory("back");
    finish(&lab, &["restore", &text(&back)]);
    assert_same_world(&tree, &back);
    assert!(
        stored(&lab, "data").len() >= packs,
        "a backup removes nothing"
    );
}

#[test]
fn a_killed_forget_leaves_what_stays_whole() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    lab.init();
    for number in 0..8 {
        fs::write(tree.join("changing"), noise(number, 4 << 20)).expect("a file");
        finish(&lab, &["backup", &text(&tree), "vol"]);
    }
    for moment in 1..=8u32 {
        killed_after(
            start(&lab, &["forget", "2"]),
            Duration::from_millis(60 * u64::from(moment)),
        );
        assert!(
            lab.open()
                .verify(&silent())
                .expect("verified")
                .damages
                .is_empty(),
            "moment {moment}"
        );
    }
    finish(&lab, &["forget", "2"]);
    assert_eq!(
        lab.open()
            .snapshots(&Filter::default())
            .expect("snapshots")
            .len(),
        2
    );
    lab.restic_checks();
    let back = lab.directory("back");
    finish(&lab, &["restore", &text(&back)]);
    assert_same_world(&tree, &back);
}

#[test]
fn a_killed_restore_leaves_the_repository_as_it_was() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    common::plant(&tree);
    lab.init();
    finish(&lab, &["backup", &text(&tree), "vol"]);
    for moment in 1..=6u32 {
        let back = lab.directory(&format!("back {moment}"));
        killed_after(
            start(&lab, &["restore", &text(&back)]),
            Duration::from_millis(80 * u64::from(moment)),
        );
    }
    let back = lab.directory("back");
    finish(&lab, &["restore", &text(&back)]);
    assert_same_world(&tree, &back);
    lab.restic_checks();
}

#[test]
fn packs_of_a_killed_backup_are_used_by_the_next() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    fs::write(tree.join("file"), noise(3, 40 << 20)).expect("a file");
    lab.init();
    let words = ["backup", &text(&tree), "vol"];
    finish(&lab, &words);
    // As if it had been killed before it wrote its index: with its packs there, and its lock.
    for path in stored(&lab, "index")
        .into_iter()
        .chain(stored(&lab, "snapshots"))
    {
        fs::remove_file(path).expect("removed");
    }
    let mut killed = start(&lab, &words);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Under its name: before, it is being written.
    while !is_locked(&lab) {
        assert!(Instant::now() < deadline, "it takes no lock");
        std::thread::yield_now();
    }
    killed.kill().expect("killed");
    killed.wait().expect("its end");
    let size = |lab: &Lab| -> u64 {
        stored(lab, "data")
            .iter()
            .map(|pack| pack.metadata().expect("a pack").len())
            .sum()
    };
    let before = size(&lab);
    finish(&lab, &words);
    assert!(
        size(&lab) < before + (1 << 20),
        "{before} bytes became {}",
        size(&lab)
    );
    lab.restic_checks();
}
