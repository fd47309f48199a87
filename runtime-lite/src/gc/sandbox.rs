//! Whether a network namespace lives, by its path, or by its identity where a record has it.
//! `survey` asks for each attachment.
//! It must never enter a namespace, and never take an unseen one for a dead one when a trace of it is left.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::evidence::Verdict;
use crate::netns;

/// What the path of a namespace says about it. `noted` is when the path was written down.
///
/// An empty file where a namespace was mounted is what an unmount, a reboot on a disk-backed /run, or a mount in
/// a mount namespace that we can't see all look like: only a reboot since then is a proof.
pub(super) fn by_path(path: &Path, noted: Option<SystemTime>) -> Verdict {
    let shown = path.display();
    if netns::exists(path) {
        return Verdict::Alive(format!("its network namespace {shown} exists"));
    }
    if !path.exists() {
        return Verdict::Dead(format!("its network namespace {shown} is gone"));
    }
    match noted.is_some_and(before_boot) {
        true => Verdict::Dead(format!(
            "the host was restarted since; {shown} is only a file"
        )),
        false => Verdict::Unknown(format!(
            "{shown} is there but is no namespace here; it may be mounted in another mount namespace"
        )),
    }
}

/// What a record says: the namespace at `path` had this device and inode.
pub(super) fn by_identity(path: &Path, dev: u64, ino: u64, noted: Option<SystemTime>) -> Verdict {
    let shown = path.display();
    let same = fs::metadata(path).is_ok_and(|now| now.dev() == dev && now.ino() == ino);
    if same {
        return Verdict::Alive(format!("its network namespace {shown} exists"));
    }
    if in_use(ino) {
        return Verdict::Alive(format!(
            "its network namespace {ino} lives, though no longer at {shown}"
        ));
    }
    match by_path(path, noted) {
        // Another namespace is there now, under the old name.
        Verdict::Alive(_) => Verdict::Dead(format!("{shown} is another network namespace by now")),
        other => other,
    }
}

/// Whether the time lies before this boot.
pub(super) fn before_boot(time: SystemTime) -> bool {
    boot_time().is_some_and(|boot| time < boot)
}

/// The line `btime` of /proc/stat: when this boot began, to the second.
fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds.trim().parse().ok()?))
}

/// Whether any process is in the network namespace `ino`, or anything keeps it by a mount that we see.
fn in_use(ino: u64) -> bool {
    static IN_USE: OnceLock<HashSet<u64>> = OnceLock::new();
    IN_USE.get_or_init(namespaces_in_use).contains(&ino)
}

fn namespaces_in_use() -> HashSet<u64> {
    let mut found = HashSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Not a process, gone meanwhile, or not ours to see: none says anything about a namespace.
        if let Ok(about) = fs::metadata(process.path().join("ns/net")) {
            found.insert(about.ino());
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter_map(mounted_namespace));
    found
}

/// Field 4 (root) of a line of mountinfo is `net:[INODE]` for a kept network namespace (proc(5)).
fn mounted_namespace(line: &str) -> Option<u64> {
    let root = line.split_ascii_whitespace().nth(3)?;
    root.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_ino() -> u64 {
        fs::metadata("/proc/self/ns/net")
            .expect("our namespace")
            .ino()
    }

    #[test]
    fn a_namespace_that_exists_is_alive_and_an_absent_path_is_dead() {
        let alive = by_path(Path::new("/proc/self/ns/net"), None);
        assert!(matches!(alive, Verdict::Alive(_)));
        let dead = by_path(Path::new("/nowhere/ns"), None);
        assert!(matches!(dead, Verdict::Dead(_)));
    }

    #[test]
    fn a_plain_file_proves_nothing_unless_the_host_was_restarted_since() {
        let path = Path::new("/etc/passwd");
        assert!(matches!(by_path(path, None), Verdict::Unknown(_)));
        assert!(matches!(
            by_path(path, Some(SystemTime::now())),
            Verdict::Unknown(_)
        ));
        assert!(matches!(by_path(path, Some(UNIX_EPOCH)), Verdict::Dead(_)));
    }

    #[test]
    fn a_namespace_that_moved_is_alive_by_its_processes() {
        let moved = by_identity(Path::new("/nowhere/ns"), 0, own_ino(), None);
        assert!(matches!(moved, Verdict::Alive(_)));
        let gone = by_identity(Path::new("/nowhere/ns"), 0, 1, None);
        assert!(matches!(gone, Verdict::Dead(_)));
        let replaced = by_identity(Path::new("/proc/self/ns/net"), 0, 1, None);
        assert!(matches!(replaced, Verdict::Dead(_)));
    }

    #[test]
    fn mounted_namespaces_are_read_from_mountinfo() {
        let line = "40 30 0:4 net:[4026532008] /run/netns/a rw shared:1 - nsfs nsfs rw";
        assert_eq!(mounted_namespace(line), Some(4_026_532_008));
        assert_eq!(
            mounted_namespace("40 30 0:4 / /run rw - tmpfs tmpfs rw"),
            None
        );
    }
}
