//! Trees with everything that a file system can hold, and what they look like, for comparison.
//! Every test of this crate uses it; they run as root, with `restic` beside (tests/prepare).

#![allow(dead_code, reason = "each test binary uses another part of it")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, Timespec, Timestamps, XattrFlags};
use wharfline_backup::{Access, Filter, Password, Progress, Repository, Silent, Subject};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A temporary directory with a password file.
pub(crate) struct Lab(tempfile::TempDir);

impl Lab {
    pub(crate) fn new() -> Lab {
        let lab = Lab(tempfile::tempdir().expect("a temporary directory"));
        fs::write(lab.path("password"), PASSWORD).expect("the password's file");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("a directory");
        path
    }

    pub(crate) fn password(&self) -> Password {
        Password::from_file(&self.path("password")).expect("the password")
    }

    pub(crate) fn access(&self) -> Access {
        let address = self.path("repository").display().to_string();
        Access {
            address: address.parse().expect("an address"),
            password: self.password(),
            keys: None,
        }
    }

    pub(crate) fn init(&self) -> Repository {
        Repository::init(&self.access()).expect("a repository")
    }

    pub(crate) fn open(&self) -> Repository {
        Repository::open(&self.access()).expect("the repository")
    }

    /// Runs the restic program on the lab's repository; its standard output.
    pub(crate) fn restic(&self, arguments: &[&str]) -> String {
        let mut restic = Command::new("restic");
        restic
            .arg("-r")
            .arg(self.path("repository"))
            .arg("--no-cache")
            .arg("-p")
            .arg(self.path("password"))
            .args(arguments);
        let output = restic.output().expect("restic (tests/prepare installs it)");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "restic {arguments:?}: {told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        told
    }

    pub(crate) fn restic_checks(&self) {
        self.restic(&["check", "--read-data"]);
    }
}

pub(crate) fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("the directory").into()
}

pub(crate) fn subject(tree: &Path, name: &str) -> Subject {
    Subject {
        root: open(tree),
        name: name.to_owned(),
        host: Some("here".to_owned()),
        tags: vec!["nightly".to_owned()],
    }
}

pub(crate) fn restore_latest(repository: &Repository, into: &Path) {
    let snapshot = repository
        .snapshot("latest", &Filter::default())
        .expect("a snapshot");
    repository
        .restore(&snapshot, open(into), &silent())
        .expect("restored");
}

/// Reads all of it, as `wharf volume verify` does.
#[track_caller]
pub(crate) fn assert_undamaged(repository: &Repository) {
    let verified = repository.verify(&silent()).expect("verified");
    assert_eq!(verified.damages, Vec::<String>::new());
}

/// Bytes that look random, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length / 8 + 1).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}

/// A tree with every kind of file that a volume may have.
pub(crate) fn plant(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("deep/er/still")).expect("directories");
    fs::write(at("plain"), "some words\n").expect("a file");
    fs::write(at("empty"), "").expect("an empty file");
    fs::write(at("large"), noise(1, 9 << 20)).expect("a file of several blobs");
    fs::hard_link(at("plain"), at("deep/linked")).expect("a hard link");
    fs::hard_link(at("large"), at("deep/er/large too")).expect("a hard link");
    symlink("../plain", at("deep/inside")).expect("a link");
    symlink("/etc/passwd", at("outside")).expect("a link");
    symlink(OsStr::from_bytes(b"no such \xff"), at("dangling")).expect("a link");
    plant_names(root);
    plant_special(root);
    plant_attributes(root);
    let sparse = File::create(at("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a length");
    sparse
        .write_all_at(&noise(2, 5000), 33 << 20)
        .expect("data between holes");
    age(root);
}

fn plant_names(root: &Path) {
    for name in [
        &b"no utf-8 \xff\xfe"[..],
        b"line\nfeed",
        b"quote\"back\\slash",
        b"tab\tbell\x07",
        b" space ",
        "überall…".as_bytes(),
        &[b'n'; 255],
    ] {
        fs::write(root.join(OsString::from_vec(name.to_vec())), name)
            .expect("a file with an odd name");
    }
}

fn plant_special(root: &Path) {
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join(name),
            kind,
            Mode::RUSR | Mode::WGRP,
            device,
        )
        .expect("a special file");
    };
    make("fifo", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
    make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    make("disk", FileType::BlockDevice, rustix::fs::makedev(7, 200));
    for (name, mode) in [
        ("setuid", 0o4755),
        ("setgid", 0o2711),
        ("sticky", 0o1644),
        ("closed", 0o000),
    ] {
        let path = root.join(name);
        fs::write(&path, name).expect("a file");
        chown(&path, Some(1234), Some(4321)).expect("an owner");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    lchown(root.join("dangling"), Some(7), Some(8)).expect("a link's owner");
}

fn plant_attributes(root: &Path) {
    let set = |name: &str, attribute: &str, value: &[u8]| {
        rustix::fs::lsetxattr(root.join(name), attribute, value, XattrFlags::empty())
            .expect("an extended attribute");
    };
    set("", "user.of.the.root", b"\x00\x01binary\xff");
    set("plain", "user.long", &[b'x'; 3000]);
    set("plain", "trusted.secret", b"");
    set("dangling", "trusted.link", b"on a link");
    set("deep", "user.directory", b"yes");
    // cap_net_raw, as `setcap` writes it (include/uapi/linux/capability.h: vfs_cap_data, revision 2).
    set(
        "setuid",
        "security.capability",
        &[
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    );
    set("plain", "system.posix_acl_access", &acl());
    set("deep/er", "system.posix_acl_default", &acl());
}

/// u::rw-,u:1234:rwx,g::r--,m::rwx,o::--- (include/uapi/linux/posix_acl_xattr.h).
fn acl() -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    for (tag, rights, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 7, 1234),
        (4, 4, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        value.extend(tag.to_le_bytes());
        value.extend(rights.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Every file gets a time of its own, to the nanosecond; some before 1970.
fn age(root: &Path) {
    for (number, path) in paths(root)
        .into_iter()
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let time = Timespec {
            tv_sec: number as i64 * 10_000_000 - 50_000_000,
            tv_nsec: 123_456_780 + number as i64,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(
            rustix::fs::CWD,
            root.join(&path),
            &times,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .expect("a time");
    }
    chown(root, Some(33), Some(44)).expect("an owner");
    fs::set_permissions(root, fs::Permissions::from_mode(0o2751)).expect("a mode");
}

/// Everything below a directory and itself, in order.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::new()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        if root
            .join(&path)
            .symlink_metadata()
            .is_ok_and(|found| found.is_dir())
        {
            let entries = fs::read_dir(root.join(&path)).expect("a directory");
            all.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        }
    }
    all.sort();
    all
}

/// What a whole tree is: for each path its metadata, its contents' digest, and with whom it shares an inode.
pub(crate) fn world(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut first_of = BTreeMap::new();
    let all = paths(root);
    all.into_iter()
        .map(|path| {
            let whole = root.join(&path);
            let stat = whole.symlink_metadata().expect("metadata");
            let links = if stat.is_dir() { 0 } else { stat.nlink() };
            let first = first_of
                .entry(stat.ino())
                .or_insert_with(|| path.clone())
                .clone();
            let size = if stat.is_dir() { 0 } else { stat.size() };
            let mut told = format!(
                "{:o} {}:{} {size} bytes {}.{:09} device {} {links} names, the first {first:?}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                stat.rdev()
            );
            if stat.is_symlink() {
                told += &format!(" -> {:?}", fs::read_link(&whole).expect("a target"));
            }
            if stat.is_file() {
                told += &format!(
                    " contents {:?}",
                    digest(&fs::read(&whole).expect("contents"))
                );
            }
            for (name, value) in attributes(&whole) {
                told += &format!(" {name}={value:?}");
            }
            (path, told)
        })
        .collect()
}

fn digest(contents: &[u8]) -> u64 {
    contents.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut list).expect("a list of attributes");
    let names = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value).expect("an attribute");
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Compares two trees and shows only what differs.
pub(crate) fn assert_same_world(expected: &Path, found: &Path) {
    let (expected, found) = (world(expected), world(found));
    let all: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differing: Vec<_> = all
        .into_iter()
        .filter(|path| expected.get(*path) != found.get(*path))
        .collect();
    let mut told = Vec::new();
    for path in &differing {
        writeln!(
            told,
            "{path:?}\n  expected {:?}\n  found    {:?}",
            expected.get(*path),
            found.get(*path)
        )
        .expect("memory");
    }
    assert!(differing.is_empty(), "{}", String::from_utf8_lossy(&told));
}

/// Bytes on the disk.
pub(crate) fn allocated(path: &Path) -> u64 {
    path.metadata().expect("metadata").blocks() * 512
}

/// The files of a kind in the lab's repository, those that are being written included.
pub(crate) fn stored(lab: &Lab, kind: &str) -> Vec<PathBuf> {
    let root = lab.path("repository").join(kind);
    let all = paths(&root).into_iter().map(|path| root.join(path));
    all.filter(|path| path.is_file()).collect()
}

/// The same without those that are being written, or whose writer was killed.
pub(crate) fn whole(lab: &Lab, kind: &str) -> Vec<PathBuf> {
    let has_name = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    stored(lab, kind).into_iter().filter(has_name).collect()
}
