//! What `wharf` and `wharf-shim` say to each other, and the files that both read.
//! Both binaries use it; each side compiles the same types, so neither can drift.
//! It must never start a process, mount, or enter a namespace.

mod channel;
mod claim;
mod message;
mod status;

pub use channel::{Channel, ChannelError};
pub use claim::{Claim, Holder};
pub use message::{Failure, Report, Request, Stage};
pub use status::{Phase, Status, process_start, write_atomically};

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
    /// What the shim had to say.
    pub const LOG: &str = "shim.log";
    /// libcontainer's own state.
    pub const RUNTIME: &str = "runtime";
}
