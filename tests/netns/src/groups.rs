//! Control groups of a machine's own, in every hierarchy that the kernel has.
//!
//! Called by `machine`: a process namespace ends what runs in it, and leaves its groups. It must remove no group that is not
//! below one of its name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wharfline_testkit::wait_for;

/// A group of this name in each hierarchy where somebody makes one; they go with it, and all below.
#[derive(Debug)]
pub struct Groups {
    name: String,
}

impl Groups {
    /// A name that no other machine has.
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharfline-{}-{nth}", std::process::id());
        Self { name }
    }

    /// Their name, directly below the root or the group of whoever makes them.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn folders(&self) -> Vec<PathBuf> {
        let named = ["-maxdepth", "5", "-type", "d", "-name", &self.name];
        let mut find = Command::new("find");
        find.arg("/sys/fs/cgroup").args(named).arg("-prune");
        let told = find.output().map(|told| told.stdout).unwrap_or_default();
        let told = String::from_utf8_lossy(&told);
        told.lines().map(PathBuf::from).collect()
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let go = || {
            let mut left = self.folders();
            left.retain(|folder| !remove(folder));
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        };
        match std::thread::panicking() {
            true => drop(go()),
            // Whoever was killed leaves them when it is reaped.
            false => wait_for("control groups to go", Duration::from_secs(20), go),
        }
    }
}

/// Whether it is gone, with all below.
fn remove(folder: &Path) -> bool {
    let innermost_first = ["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"];
    let mut find = Command::new("find");
    find.arg(folder).args(innermost_first).stderr(Stdio::null());
    // What it could not remove is there.
    let _ = find.status();
    !folder.exists()
}
