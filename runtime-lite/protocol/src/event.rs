//! What happened to containers: one JSON line each in a file below /run that everybody appends to.
//! `wharf` and the shims write, `wharf events` reads and follows.
//! It must never hold anybody up: an event that can't be written is lost.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock;

/// The file's name in the folder of run-time state.
pub const FILE: &str = "events.jsonl";
/// The name of the one before it.
pub const OLD_FILE: &str = "events.jsonl.1";
/// The file is put aside when it has so many bytes.
const ENOUGH: u64 = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When (RFC 3339 with nanoseconds).
    pub time: String,
    /// What: create, start, die, restart, stop, kill, oom, exec_start, health_status, destroy, rename, update,
    /// connect, disconnect.
    pub action: String,
    /// The container's id.
    pub container: String,
    /// More about it: an exit status, a signal, a network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Appends an event. One write(2) with O_APPEND, so that lines of several writers don't mix.
pub fn tell(run: &Path, container: &str, action: &str, detail: &str) {
    let event = Event {
        time: clock::stamp(),
        action: action.to_owned(),
        container: container.to_owned(),
        detail: detail.to_owned(),
    };
    let Ok(mut line) = serde_json::to_vec(&event) else {
        return;
    };
    line.push(b'\n');
    let path = run.join(FILE);
    let _ = fs::create_dir_all(run);
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let Ok(mut file) = opened else {
        return;
    };
    let _ = file.write_all(&line);
    if file.metadata().is_ok_and(|about| about.len() > ENOUGH) {
        let _ = fs::rename(&path, run.join(OLD_FILE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_in_their_order() {
        let dir = tempfile::tempdir().expect("a directory");
        tell(dir.path(), "a", "start", "");
        tell(dir.path(), "b", "die", "3");
        let text = fs::read_to_string(dir.path().join(FILE)).expect("read");
        let events: Vec<Event> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect();
        assert_eq!(
            (events[0].container.as_str(), events[0].action.as_str()),
            ("a", "start")
        );
        assert_eq!(
            (events[1].action.as_str(), events[1].detail.as_str()),
            ("die", "3")
        );
    }
}
