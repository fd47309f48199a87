//! What `wharf` and `wharf-shim` say to each other, and the files that both read.
//! Both binaries use it; each side compiles the same types, so neither can drift.
//! It must never start a process, mount, or enter a namespace.

mod channel;
mod claim;
pub mod clock;
pub mod event;
mod message;
mod policy;
mod status;

use nix::sys::signal::Signal;

pub use channel::{Channel, ChannelError};
pub use claim::{Claim, Holder};
pub use message::{Failure, Report, Request, Stage, Streams};
pub use policy::{Health, Orders, Restart, back_off};
pub use status::{
    Phase, Status, Wellbeing, WellbeingState, boot_id, process_start, write_atomically,
};

/// What whoever signals `wharf`, or the shim, means for the container.
pub const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Names of the files in a container's directory; docs/wharf.md describes each.
pub mod file {
    /// What the user asked for; written by `wharf` before anything else exists.
    pub const CONTAINER: &str = "container.json";
    /// The OCI bundle's configuration.
    pub const BUNDLE: &str = "config.json";
    /// Where the container is in its life; written by the shim.
    pub const STATUS: &str = "status.json";
    /// The file whose locks say who is alive; see [`crate::Claim`].
    pub const CLAIM: &str = "lock";
    /// The socket on which the shim takes requests.
    pub const CONTROL: &str = "control";
    /// What the container wrote, if the shim kept its streams; `output.log.1` is what came before.
    pub const OUTPUT: &str = "output.log";
    /// What the shim had to say.
    pub const LOG: &str = "shim.log";
    /// libcontainer's own state.
    pub const RUNTIME: &str = "runtime";
}
