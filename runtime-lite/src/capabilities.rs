//! The capabilities of a container: Docker's fourteen, as far as this host lets us give them.
//! `bundle` asks for the set, `seccomp` derives its filter from it, `ulimits` asks what we have ourselves.
//! It must never add one that neither Docker gives by default nor the user asked for.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Docker's default set, with the numbers of include/uapi/linux/capability.h.
const DEFAULT: [(&str, u32); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// All others, as ALL means them.
const OTHERS: [(&str, u32); 27] = [
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_LINUX_IMMUTABLE", 9),
    ("CAP_NET_BROADCAST", 11),
    ("CAP_NET_ADMIN", 12),
    ("CAP_IPC_LOCK", 14),
    ("CAP_IPC_OWNER", 15),
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_RAWIO", 17),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_PACCT", 20),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_BOOT", 22),
    ("CAP_SYS_NICE", 23),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_SYS_TIME", 25),
    ("CAP_SYS_TTY_CONFIG", 26),
    ("CAP_LEASE", 28),
    ("CAP_AUDIT_CONTROL", 30),
    ("CAP_MAC_OVERRIDE", 32),
    ("CAP_MAC_ADMIN", 33),
    ("CAP_SYSLOG", 34),
    ("CAP_WAKE_ALARM", 35),
    ("CAP_BLOCK_SUSPEND", 36),
    ("CAP_AUDIT_READ", 37),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// What a container gets: the default set with `add` and without `drop`; what it drops by name, it has not, whatever it adds.
///
/// What this process may not give away itself (its bounding set lacks it) is left out of the default set, and refused if it
/// was asked for by name. `device_rules` says whether the kernel will hold the container to its devices. If it will not,
/// CAP_MKNOD would let it make, and open, the host's disks.
pub(crate) fn set(
    add: &[String],
    drop: &[String],
    device_rules: bool,
) -> Result<Vec<&'static str>> {
    let held = bounding_set()?;
    let may = |(name, number): (&'static str, u32)| {
        held >> number & 1 == 1 && (device_rules || name != "CAP_MKNOD")
    };
    let (add, drop) = (names(add)?, names(drop)?);
    for &(name, number) in add.iter().flatten() {
        if !may((name, number)) {
            return Err(Error::CapabilityNotHeld(name));
        }
    }
    let all_added = add.contains(&None);
    let all_dropped = drop.contains(&None);
    let mut set = Vec::new();
    for &known in DEFAULT.iter().chain(&OTHERS) {
        let default = DEFAULT.contains(&known) && !all_dropped;
        let wanted = all_added || add.contains(&Some(known)) || default;
        if wanted && !drop.contains(&Some(known)) && may(known) {
            set.push(known.0);
        }
    }
    Ok(set)
}

/// What the words mean, with or without CAP_; `None` is ALL.
fn names(words: &[String]) -> Result<Vec<Option<(&'static str, u32)>>> {
    let meaning = |word: &String| {
        let upper = word.to_ascii_uppercase();
        if upper == "ALL" {
            return Ok(None);
        }
        let full = format!("CAP_{}", upper.trim_start_matches("CAP_"));
        let known = DEFAULT
            .iter()
            .chain(&OTHERS)
            .find(|(name, _)| *name == full);
        known
            .map(|known| Some(*known))
            .ok_or_else(|| Error::BadValue {
                given: word.clone(),
                rule: "is not a capability",
            })
    };
    words.iter().map(meaning).collect()
}

/// CapBnd of proc(5), as a mask.
fn bounding_set() -> Result<u64> {
    mask("CapBnd:")
}

/// Whether this process has the capability with that number in force.
pub(crate) fn effective(number: u32) -> Result<bool> {
    Ok(mask("CapEff:")? >> number & 1 == 1)
}

fn mask(name: &str) -> Result<u64> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    // A kernel without the line has nothing to say against any.
    Ok(mask.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn dropping_wins_over_adding() {
        let none = set(&[], &words("ALL"), true).expect("a set");
        assert!(none.is_empty());
        let one = set(&words("chown"), &words("ALL"), true).expect("a set");
        assert_eq!(one, ["CAP_CHOWN"]);
        let both = set(&words("ALL"), &words("CAP_CHOWN"), true).expect("a set");
        assert!(!both.contains(&"CAP_CHOWN"));
        assert!(set(&words("CAP_NOTHING"), &[], true).is_err());
    }

    #[test]
    fn without_device_rules_nobody_makes_devices() {
        let set = set(&[], &[], false).expect("a set");
        assert!(!set.contains(&"CAP_MKNOD"));
    }
}
