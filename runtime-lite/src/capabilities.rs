//! The capabilities of a container: Docker's fourteen, as far as this host lets us give them.
//! `bundle` asks for the set, `seccomp` derives its filter from it.
//! It must never add one that the user did not ask for.

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

/// The default set without what this process may not give away itself (its bounding set lacks it).
///
/// `device_rules` says whether the kernel will hold the container to its devices. If it will not, CAP_MKNOD
/// would let it make, and open, the host's disks.
pub(crate) fn default_set(device_rules: bool) -> Result<Vec<&'static str>> {
    let held = bounding_set()?;
    let given = |&&(name, number): &&(&str, u32)| {
        held >> number & 1 == 1 && (device_rules || name != "CAP_MKNOD")
    };
    Ok(DEFAULT
        .iter()
        .filter(given)
        .map(|&(name, _)| name)
        .collect())
}

/// CapBnd of proc(5), as a mask.
fn bounding_set() -> Result<u64> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    // A kernel without the line has nothing to say against any.
    Ok(mask.unwrap_or(u64::MAX))
}
