//! `status.json`: where a container is in its life, as its shim last knew it.
//! The shim writes it, `wharf ps` and `wharf gc` read it, and so can a person.
//! It never says whether the shim is still there: that is what [`crate::Claim`] is for.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file;

/// A step of a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On its way: being made, or made and not yet running.
    #[default]
    Created,
    /// Its command runs.
    Running,
    /// Its command has ended and will be started again.
    Restarting,
    /// Its first process is gone.
    Exited,
}

/// What the last probes said; see [`crate::Health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wellbeing {
    /// `starting`, `healthy` or `unhealthy`.
    pub state: WellbeingState,
    /// Failures since the last success.
    pub failures: u32,
    /// What the last probe printed, cut off.
    pub output: String,
}

/// Whether a container is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WellbeingState {
    /// No probe has counted yet.
    Starting,
    /// The last probe that counted succeeded.
    Healthy,
    /// Too many have failed in a row.
    Unhealthy,
}

/// The contents of `status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The step.
    pub phase: Phase,
    /// The container's first process, as the host numbers it.
    pub pid: i32,
    /// When that process started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
    /// A pid alone may belong to another process by now; pid and start together do not.
    pub pid_start: u64,
    /// The boot that both belong to.
    #[serde(default)]
    pub boot_id: String,
    /// The exit status, once there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// When it was last started (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started: Option<String>,
    /// When it last ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished: Option<String>,
    /// How often its policy has started it again since it was started.
    #[serde(default)]
    pub restarts: u32,
    /// Whether it was stopped: its policy does not apply then.
    #[serde(default)]
    pub stopped: bool,
    /// Whether its networks are detached, and nothing of it is left in the kernel.
    #[serde(default)]
    pub settled: bool,
    /// Why it could not be started, if it could not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Whether it is well, if it is asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<Wellbeing>,
}

impl Status {
    /// The status in container directory `dir`; `None` before the shim has written one.
    pub fn read(dir: &Path) -> io::Result<Option<Status>> {
        match fs::read(dir.join(file::STATUS)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        }
    }

    /// Replaces the status in `dir` in one step.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(&dir.join(file::STATUS), &text)
    }

    /// Whether the first process is still the one that this status speaks of.
    pub fn process_lives(&self) -> bool {
        self.boot_id == boot_id() && process_start(self.pid) == Some(self.pid_start)
    }
}

/// This boot's identity: a process of another one is gone, whatever its number. Empty if the kernel does not say.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// When process `pid` started, in clock ticks since boot; `None` if there is no such process.
pub fn process_start(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may itself hold spaces and parentheses: what counts begins after the last one.
    let after_command = stat.rsplit_once(')')?.1;
    // Field 3 (state) is the first after the command, so field 22 is the twentieth.
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Writes `contents` to `path` so that a reader sees the old file or the new one, never a part.
///
/// The file is not synced to disk: what lives here is worth nothing after a power cut.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(hidden);
    fs::write(&draft, contents)
        .and_then(|()| fs::rename(&draft, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let status = Status {
            phase: Phase::Exited,
            pid: 7,
            pid_start: 9,
            exit_code: Some(137),
            ..Status::default()
        };
        assert_eq!(Status::read(dir.path()).expect("read"), None);
        status.write(dir.path()).expect("written");
        assert_eq!(Status::read(dir.path()).expect("read"), Some(status));
    }

    #[test]
    fn our_own_process_lives_and_a_recycled_pid_does_not() {
        let pid = std::process::id() as i32;
        let start = process_start(pid).expect("we run");
        let status = |pid_start| Status {
            phase: Phase::Running,
            pid,
            pid_start,
            boot_id: boot_id(),
            ..Status::default()
        };
        assert!(status(start).process_lives());
        assert!(!status(start + 1).process_lives());
    }

    #[test]
    fn writing_leaves_no_draft_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        write_atomically(&dir.path().join("a"), b"one").expect("written");
        write_atomically(&dir.path().join("a"), b"two").expect("written");
        let names: Vec<_> = fs::read_dir(dir.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["a"]);
    }
}
