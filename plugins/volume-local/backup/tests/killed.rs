//! SIGKILL where a command has just changed something: earlier backups stay whole, and the next command converges.
//!
//! Twelve moments of each in `./test`, spread over the run; every one with WHARFLINE_EVERY_SYSTEM_CALL=1.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Lab, PASSWORD, assert_same_world, assert_undamaged, noise, plant, whole};
use wharfline_backup::Filter;
use wharfline_testkit::fault::{self, Stops, StruckCommand};

/// Moments of one command, unless all are asked for.
const MOMENTS: usize = 12;

/// The example `repository`, which is built with the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    tests
        .ancestors()
        .nth(2)
        .expect("the target's folder")
        .join("examples/repository")
}

fn command(lab: &Lab, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(words)
        .arg(lab.path("repository"))
        .env("RESTIC_PASSWORD", PASSWORD);
    command
}

fn finish(lab: &Lab, words: &[&str]) {
    let output = command(lab, words).output().expect("the example");
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn killed_at(lab: &Lab, words: &[&str], nth: usize) -> StruckCommand {
    fault::command_killed_at(command(lab, words), &[], nth, Stops::EveryChange)
}

/// Kills a command at moments of its run, each time from the same begin; `check` is told what it was about to do.
fn killed_everywhere(lab: &Lab, words: &[&str], begin: impl Fn(), check: impl Fn(&str)) {
    begin();
    let all = killed_at(lab, words, usize::MAX);
    assert!(all.output.succeeded(), "{words:?}: {}", all.output);
    let step = match std::env::var_os("WHARFLINE_EVERY_SYSTEM_CALL") {
        Some(_) => 1,
        None => all.stops.div_ceil(MOMENTS),
    };
    let (mut moments, mut killed) = (0, 0);
    for nth in (1..=all.stops).step_by(step) {
        begin();
        let struck = killed_at(lab, words, nth);
        moments += 1;
        killed += usize::from(struck.at.is_some());
        let at = struck.at.unwrap_or_else(|| "its end".to_owned());
        check(&format!("{words:?} killed at stop {nth}, {at}"));
    }
    // Its threads share the work anew each time: a run may have a few stops less.
    assert!(
        moments >= MOMENTS / 2 && killed * 10 >= moments * 9,
        "{killed} of {moments} moments came"
    );
}

/// Keeps the repository as it is now; the result puts it back.
fn kept(lab: &Lab) -> impl Fn() {
    let (repository, kept) = (lab.path("repository"), lab.path("kept"));
    let copy = |from: &Path, to: &Path| {
        let done = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(done.expect("cp").success());
    };
    copy(&repository, &kept);
    move || {
        fs::remove_dir_all(&repository).expect("removed");
        copy(&kept, &repository);
    }
}

/// Bytes in packs that are whole.
fn packed(lab: &Lab) -> u64 {
    whole(lab, "data")
        .iter()
        .map(|pack| pack.metadata().expect("a pack").len())
        .sum()
}

fn snapshots(lab: &Lab) -> usize {
    let all = lab.open().snapshots(&Filter::default());
    all.expect("snapshots").len()
}

fn restores_as(lab: &Lab, tree: &Path) {
    let back = lab.directory("back");
    finish(lab, &["restore", &text(&back)]);
    assert_same_world(tree, &back);
    fs::remove_dir_all(back).expect("removed");
}

fn assert_unlocked(lab: &Lab, when: &str) {
    assert_eq!(whole(lab, "locks"), Vec::<PathBuf>::new(), "{when}");
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
    let begin = kept(&lab);
    fs::write(tree.join("new"), noise(2, 30 << 20)).expect("a file");
    finish(&lab, &words);
    let needed = packed(&lab);
    killed_everywhere(&lab, &words, begin, |when| {
        // Whoever reads the repository in between must not hide from the next backup that one was killed.
        assert_undamaged(&lab.open());
        finish(&lab, &words);
        assert_unlocked(&lab, when);
        let packed = packed(&lab);
        assert!(
            packed < needed + (1 << 20),
            "{packed} bytes, {needed} are needed: {when}"
        );
        restores_as(&lab, &tree);
    });
    lab.restic_checks();
}

#[test]
fn a_killed_forget_leaves_what_stays_whole() {
    let lab = Lab::new();
    let tree = lab.directory("tree");
    lab.init();
    for number in 0..8 {
        fs::write(tree.join("changing"), noise(number, 2 << 20)).expect("a file");
        finish(&lab, &["backup", &text(&tree), "vol"]);
    }
    killed_everywhere(&lab, &["forget", "2"], kept(&lab), |when| {
        assert_undamaged(&lab.open());
        assert!(snapshots(&lab) >= 2, "{when}");
        finish(&lab, &["forget", "2"]);
        assert_eq!(snapshots(&lab), 2, "{when}");
        assert_unlocked(&lab, when);
        restores_as(&lab, &tree);
    });
    lab.restic_checks();
}

#[test]
fn a_killed_restore_leaves_the_repository_as_it_was() {
    let lab = Lab::new();
    let (tree, half) = (lab.directory("tree"), lab.path("half"));
    plant(&tree);
    lab.init();
    finish(&lab, &["backup", &text(&tree), "vol"]);
    let begin = || {
        let _ = fs::remove_dir_all(&half);
        fs::create_dir(&half).expect("a directory");
    };
    killed_everywhere(&lab, &["restore", &text(&half)], begin, |when| {
        restores_as(&lab, &tree);
        assert_unlocked(&lab, when);
        assert_undamaged(&lab.open());
    });
    lab.restic_checks();
}
