//! The messages on the socket between `wharf` and a container's shim.
//! `wharf` sends a [`Request`], the shim a [`Report`]; one JSON document per packet.
//! A message never carries what the container's directory already holds.

use serde::{Deserialize, Serialize};

/// What `wharf` asks of a shim. The shim obeys in order: create once, then start once; delete at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the container from the bundle in the shim's directory, up to (not including) its first instruction.
    /// Three descriptors travel with it: the container's stdin, stdout and stderr.
    Create,
    /// Let the created container run.
    Start,
    /// Kill the container, at whatever stage it is. Its end is reported like any other.
    Delete,
}

/// What a shim tells `wharf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The container exists and waits; `pid` is its first process, in the shim's own pid namespace.
    Created {
        /// The process id on the host.
        pid: i32,
    },
    /// The container's command has been executed.
    Started,
    /// The container's first process is gone.
    Exited {
        /// Its exit status; 128 plus the signal's number if a signal killed it (the shell's rule).
        code: i32,
    },
    /// The request could not be carried out, and what it had made is gone again.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was being done.
    pub stage: Stage,
    /// The cause, with every cause below it.
    pub reason: String,
}

/// The step that failed; it decides `wharf`'s exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Making the container.
    Create,
    /// Starting the container.
    Start,
    /// The command does not exist in the container (exit status 127).
    CommandNotFound,
    /// The command exists but cannot be executed (exit status 126).
    CommandNotExecutable,
}
