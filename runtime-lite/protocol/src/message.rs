//! The messages on the socket between `wharf` and a container's shim.
//! `wharf` sends a [`Request`], the shim a [`Report`]; one JSON document per packet.
//! A message never carries what the container's directory already holds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `wharf` asks of a shim. Create comes once, then start once, from the `wharf` that started the shim; the others
/// from anybody who connects to the shim's control socket, while the container is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Make the container from the bundle in the shim's directory, up to (not including) its first instruction.
    /// With [`Streams::Passed`] three descriptors travel with it: the container's stdin, stdout and stderr.
    Create(Streams),
    /// Let the created container run.
    Start,
    /// Kill the container, at whatever stage it is. Its end is reported like any other.
    Delete,
    /// End the container for good (its restart policy does not apply): the signal, then SIGKILL.
    Stop {
        /// The number of the first signal.
        signal: i32,
        /// How long the container has, in milliseconds; without it, for ever.
        grace_ms: Option<u64>,
    },
    /// Send the container's first process a signal.
    Kill {
        /// Its number.
        signal: i32,
    },
    /// Report the end of the container's first process.
    Wait,
    /// Show what the container writes from now on, and feed it. Three pipes travel with it: what the shim is to
    /// read for the container's stdin, what it is to write of stdout, of stderr.
    Attach,
    /// The size of the container's terminal.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// Run a further process in the container. Its stdin, stdout and stderr travel with it, unless it gets a terminal.
    Exec {
        /// An OCI `process` object.
        process: Value,
    },
}

/// Who holds the ends of a container's stdin, stdout and stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// Whoever made it: they are used as they are, and nothing is logged.
    Passed,
    /// The shim: they are logged, and can be attached to.
    Kept {
        /// Whether stdin stays open for somebody to attach (else it is empty).
        stdin: bool,
        /// Whether stdin is closed when the first who fed it ends.
        once: bool,
        /// The user and group that the command runs as: they own the pipes.
        owner: (u32, u32),
    },
    /// The shim, at the end of a terminal.
    Terminal,
}

/// What a shim tells `wharf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The container, or the further process, exists; `pid` is in the shim's own pid namespace. The terminal of a further
    /// process travels with it.
    Created {
        /// The process id on the host.
        pid: i32,
    },
    /// The container's command has been executed.
    Started,
    /// The request has been carried out.
    Done,
    /// The container's first process, or the further process of this connection, is gone.
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
    /// Running a further process.
    Exec,
    /// Any other request.
    Request,
    /// The command does not exist in the container (exit status 127).
    CommandNotFound,
    /// The command exists but cannot be executed (exit status 126).
    CommandNotExecutable,
}
