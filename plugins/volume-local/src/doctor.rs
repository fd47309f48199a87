//! What this host can do for volumes: the root's file system, quotas, images, programs, and whether dockerd sees our mounts.
//! `cli` calls it for `volume-local doctor`.
//! It must never change anything, nor make the root.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use wharfline_kernel::fs::{beneath, btrfs, mountinfo, project};

use crate::cli::print;
use crate::program;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    /// Whether it is as it should be; what is false limits what can be asked for.
    good: bool,
    told: String,
}

/// Prints the findings; the status is 0 where volumes can be made at all.
pub(crate) fn main(root: &Path, json: bool) -> ExitCode {
    let findings = findings(root);
    let usable = findings
        .iter()
        .filter(|finding| finding.what == "root")
        .all(|finding| finding.good);
    let mut text = String::new();
    if json {
        text = serde_json::to_string_pretty(&findings).unwrap_or_default() + "\n";
    } else {
        for finding in &findings {
            let mark = if finding.good { "ok  " } else { "no  " };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{mark}{:<12} {}", finding.what, finding.told);
        }
    }
    let printed = print(text.as_bytes());
    if usable { printed } else { ExitCode::FAILURE }
}

fn findings(root: &Path) -> Vec<Finding> {
    // The root itself may not be there yet: then what it will be made in counts.
    let there = root
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    let mut all = vec![of_root(root, there)];
    if let Ok(top) = beneath::folder(there) {
        let on_btrfs = btrfs::is_btrfs(&top).unwrap_or(false);
        all.push(Finding {
            what: "snapshots",
            good: on_btrfs,
            told: match on_btrfs {
                true => "instant: the root is on btrfs".to_owned(),
                false => "file by file, sharing extents where the file system can (XFS); instant on btrfs".to_owned(),
            },
        });
        let quota = project::is_on(&top);
        all.push(Finding {
            what: "quota",
            good: on_btrfs || quota,
            told: match (on_btrfs, quota) {
                (true, _) => "quota groups of btrfs limit bytes".to_owned(),
                (_, true) => "project quotas limit bytes and inodes".to_owned(),
                _ => "a size makes a volume a file system in an image: the root has no project quota (mount option prjquota)".to_owned(),
            },
        });
    }
    all.extend(programs());
    all.extend(kinds());
    all.push(seen_by_dockerd());
    all
}

fn of_root(root: &Path, there: &Path) -> Finding {
    let mounts = mountinfo::ours().unwrap_or_default();
    let path = fs::canonicalize(there).unwrap_or_else(|_| there.to_owned());
    let kind =
        mountinfo::holding(&mounts, &path).map_or("an unknown file system", |m| m.kind.as_str());
    let writable = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_ok();
    let told = format!(
        "{} on {kind}{}",
        root.display(),
        if writable {
            ""
        } else {
            ", which cannot be written"
        }
    );
    Finding {
        what: "root",
        good: writable,
        told,
    }
}

fn programs() -> Vec<Finding> {
    let one = |(name, package): (&'static str, &str)| {
        let found = program::find(name);
        Finding {
            what: name,
            good: found.is_some(),
            told: found.map_or(
                format!("is not installed (package {package}): no images with this file system"),
                |path| path.display().to_string(),
            ),
        }
    };
    let all = [
        ("mkfs.ext4", "e2fsprogs"),
        ("mkfs.xfs", "xfsprogs"),
        ("mkfs.btrfs", "btrfs-progs"),
    ];
    all.into_iter().map(one).collect()
}

fn kinds() -> Vec<Finding> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |kind: &str| {
        known
            .lines()
            .any(|line| line.split_whitespace().next_back() == Some(kind))
    };
    let mut all = vec![Finding {
        what: "loop",
        good: Path::new("/dev/loop-control").exists(),
        told: "images need /dev/loop-control".to_owned(),
    }];
    for what in ["ext4", "xfs", "btrfs", "nfs", "cifs"] {
        // A module counts when it is there; that it can be loaded, its first mount shows.
        let good = has(what);
        let told = if good {
            "the kernel has it"
        } else {
            "the kernel does not have it, or has not loaded it yet"
        };
        all.push(Finding {
            what,
            good,
            told: told.to_owned(),
        });
    }
    all
}

/// Mounts that we make after dockerd's start reach it only where its namespace is ours, or gets ours.
fn seen_by_dockerd() -> Finding {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_dockerd = |path: &Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "dockerd")
    };
    let mut dockerd = processes
        .map(|entry| entry.path())
        .filter(|path| is_dockerd(path));
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let what = "dockerd";
    match dockerd.next() {
        None => Finding {
            what,
            good: true,
            told: "does not run".to_owned(),
        },
        Some(path) => {
            let good = fs::read_link(path.join("ns/mnt")).ok() == own;
            let told = match good {
                true => "is in this mount namespace and sees every mount",
                false => {
                    "is in another mount namespace (MountFlags, PrivateTmp or the like in its unit): it would not see mounts and write below them"
                }
            };
            Finding {
                what,
                good,
                told: told.to_owned(),
            }
        }
    }
}
