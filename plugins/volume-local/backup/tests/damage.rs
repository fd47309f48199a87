//! What is broken, missing, locked or wrong is named, and nothing else is harmed.

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{
    Lab, assert_same_world, assert_undamaged, open, plant, restore_latest, silent, stored, subject,
    whole,
};
use rustix::fs::{CWD, FileType, Mode};
use wharfline_backup::{Access, Error, Filter, Password, Policy, Repository};
use wharfline_testkit::wait_for;

/// A repository with one backup of a planted tree.
fn backed_up() -> (Lab, Repository) {
    let lab = Lab::new();
    plant(&lab.directory("tree"));
    let repository = lab.init();
    repository
        .backup(subject(&lab.path("tree"), "vol"), &silent())
        .expect("a backup");
    (lab, repository)
}

fn flip(path: &Path, at: u64) {
    let mut contents = fs::read(path).expect("a pack");
    contents[usize::try_from(at).expect("an offset")] ^= 0x10;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a pack");
    file.seek(SeekFrom::Start(0)).expect("its begin");
    file.write_all(&contents).expect("a pack");
}

fn make_fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

fn largest_pack(lab: &Lab) -> std::path::PathBuf {
    let size = |path: &std::path::PathBuf| path.metadata().expect("a pack").len();
    stored(lab, "data")
        .into_iter()
        .max_by_key(size)
        .expect("a pack")
}

#[test]
fn a_flipped_bit_is_found_and_its_pack_named() {
    let (lab, repository) = backed_up();
    let pack = largest_pack(&lab);
    flip(&pack, 5000);
    let verified = repository.verify(&silent()).expect("verified");
    let name = pack.file_name().expect("a name").display().to_string();
    assert!(
        verified.damages.iter().any(|damage| damage.contains(&name)),
        "{:?}",
        verified.damages
    );
    let back = lab.directory("back");
    let snapshot = repository
        .snapshot("latest", &Filter::default())
        .expect("a snapshot");
    let refused = repository
        .restore(&snapshot, open(&back), &silent())
        .expect_err("a damaged blob");
    assert!(
        matches!(refused, Error::Damaged { .. }) && refused.chain().contains(&name),
        "{}",
        refused.chain()
    );
}

#[test]
fn a_missing_pack_is_named() {
    let (lab, repository) = backed_up();
    let pack = largest_pack(&lab);
    fs::remove_file(&pack).expect("the pack");
    let name = pack.file_name().expect("a name").display().to_string();
    let verified = repository.verify(&silent()).expect("verified");
    assert!(
        verified
            .damages
            .contains(&format!("pack {name} is missing")),
        "{:?}",
        verified.damages
    );
    let snapshot = repository
        .snapshot("latest", &Filter::default())
        .expect("a snapshot");
    let refused = repository
        .restore(&snapshot, open(&lab.directory("back")), &silent())
        .expect_err("a missing pack");
    assert!(refused.chain().contains(&name), "{}", refused.chain());
}

#[test]
fn a_wrong_password_is_said_and_never_shown() {
    let (lab, _) = backed_up();
    let password = Password::new("Tr0ub4dor&3").expect("a password");
    let refused = Repository::open(&Access {
        password,
        ..lab.access()
    })
    .expect_err("a wrong password");
    assert!(
        matches!(refused, Error::WrongPassword { .. }),
        "{refused:?}"
    );
    assert!(!format!("{} {refused:?}", refused.chain()).contains("Tr0ub4dor"));
}

#[test]
fn where_there_is_no_repository_none_is_made_and_a_second_is_refused() {
    let lab = Lab::new();
    assert!(matches!(
        Repository::open(&lab.access()),
        Err(Error::NoRepository { .. })
    ));
    assert!(!lab.path("repository").exists());
    lab.init();
    assert!(matches!(
        Repository::init(&lab.access()),
        Err(Error::Exists { .. })
    ));
}

#[test]
fn a_repository_that_lost_its_config_is_not_made_anew_over_its_backups() {
    let (lab, _) = backed_up();
    fs::remove_file(lab.path("repository").join("config")).expect("the config");
    let keys = stored(&lab, "keys");
    let refused = Repository::init(&lab.access()).expect_err("backups are there");
    assert!(refused.to_string().contains("but no config"), "{refused}");
    assert_eq!(stored(&lab, "keys"), keys);
}

#[test]
fn a_target_that_is_not_empty_is_left_alone() {
    let (lab, repository) = backed_up();
    let back = lab.directory("back");
    fs::write(back.join("mine"), "precious").expect("a file");
    let snapshot = repository
        .snapshot("latest", &Filter::default())
        .expect("a snapshot");
    let refused = repository
        .restore(&snapshot, open(&back), &silent())
        .expect_err("a file in the way");
    assert!(refused.to_string().contains("mine"), "{refused}");
    assert_eq!(common::paths(&back).len(), 2);
}

#[test]
fn links_lead_nowhere_neither_when_read_nor_when_restored() {
    let lab = Lab::new();
    let (tree, back, outside) = (
        lab.directory("tree"),
        lab.directory("back"),
        lab.directory("outside"),
    );
    fs::write(outside.join("secret"), "not for the backup").expect("a file");
    symlink(&outside, tree.join("way out")).expect("a link");
    symlink(outside.join("secret"), tree.join("file out")).expect("a link");
    let repository = lab.init();
    let backup = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    assert_eq!(
        backup.snapshot.bytes,
        Some(0),
        "what links lead to was read"
    );
    restore_latest(&repository, &back);
    assert_same_world(&tree, &back);
    assert_eq!(fs::read_dir(&outside).expect("the folder").count(), 1);
}

#[test]
fn an_exclusive_lock_is_respected_while_it_lives_and_removed_when_it_is_dead() {
    let (lab, repository) = backed_up();
    // `restic check` excludes others. It reads the index when it has its lock, and waits for a FIFO as long as we want.
    let index = stored(&lab, "index").pop().expect("an index");
    fs::rename(&index, lab.path("index aside")).expect("aside");
    make_fifo(&index);
    let mut restic = Command::new("restic");
    restic
        .arg("-r")
        .arg(lab.path("repository"))
        .arg("-p")
        .arg(lab.path("password"));
    restic
        .args(["--no-cache", "check", "--read-data"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut restic = restic.spawn().expect("restic");
    wait_for("restic's lock", Duration::from_secs(60), || {
        whole(&lab, "locks")
            .pop()
            .ok_or_else(|| "there is none".to_owned())
    });
    let refused = repository.backup(subject(&lab.path("tree"), "vol"), &silent());
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    restic.kill().expect("killed");
    restic.wait().expect("its end");
    fs::rename(lab.path("index aside"), &index).expect("back");
    repository
        .backup(subject(&lab.path("tree"), "vol"), &silent())
        .expect("a backup");
    assert!(stored(&lab, "locks").is_empty(), "a lock was left");
}

#[test]
fn a_full_disk_fails_the_backup_and_leaves_earlier_ones_whole() {
    let lab = Lab::new();
    let (tree, small) = (lab.directory("tree"), lab.directory("repository"));
    fs::write(tree.join("first"), common::noise(5, 1 << 20)).expect("a file");
    let options = [("size", "6m")].map(|(key, value)| format!("{key}={value}"));
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options[0], "tmpfs"])
        .arg(&small)
        .status();
    assert!(mounted.expect("mount").success());
    let repository = lab.init();
    repository
        .backup(subject(&tree, "vol"), &silent())
        .expect("a backup");
    fs::write(tree.join("second"), common::noise(6, 20 << 20)).expect("a file");
    let refused = repository
        .backup(subject(&tree, "vol"), &silent())
        .expect_err("a full disk");
    assert!(
        refused.chain().contains("No space left"),
        "{}",
        refused.chain()
    );
    assert_eq!(
        repository
            .snapshots(&Filter::default())
            .expect("snapshots")
            .len(),
        1
    );
    assert_undamaged(&repository);
    // Threads of the backup that failed may be about to close what they read and wrote.
    wait_for("the disk to be free", Duration::from_secs(20), || {
        let unmounted = Command::new("umount").arg(&small).output();
        let told = unmounted.map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        told.status.success().then_some(()).ok_or(said)
    });
}

#[test]
fn forget_keeps_what_the_policy_says_and_what_stays_can_be_restored() {
    let (lab, repository) = backed_up();
    let tree = lab.path("tree");
    for number in 0..3u8 {
        fs::write(tree.join("changing"), common::noise(number.into(), 1 << 20)).expect("a file");
        repository
            .backup(subject(&tree, "vol"), &silent())
            .expect("a backup");
    }
    repository
        .backup(subject(&tree, "other"), &silent())
        .expect("a backup");
    let policy = Policy {
        last: Some(1),
        ..Policy::default()
    };
    let forgotten = repository
        .forget(&policy, &Filter::default(), &silent())
        .expect("forgotten");
    assert_eq!((forgotten.kept.len(), forgotten.removed.len()), (2, 3));
    let ours = Filter {
        volume: Some("vol".to_owned()),
        ..Filter::default()
    };
    let snapshot = repository.snapshot("latest", &ours).expect("a snapshot");
    let back = lab.directory("back");
    repository
        .restore(&snapshot, open(&back), &silent())
        .expect("restored");
    assert_same_world(&tree, &back);
    lab.restic_checks();
}
