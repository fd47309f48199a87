//! The laboratory that every test on a real kernel works in: throwaway hosts, snapshots of all that a plugin can
//! change, faults on demand, and traffic.
//!
//! Called by tests and benches only. It must never touch the machine's own namespaces, and never trust the code under
//! test: what it reports comes from iproute2, nft and the kernel itself.

mod certificate;
mod disk;
pub mod fault;
mod features;
mod lab;
mod namespace;
mod network;
mod outside;
pub mod page;
mod plugin;
mod process;
mod sctp;
pub mod traffic;
mod wait;
mod world;

pub use certificate::certificate;
pub use disk::Disk;
pub use features::Feature;
pub use lab::Lab;
pub use namespace::Namespace;
pub use network::Network;
pub use outside::Outside;
pub use plugin::{Attachment, Call, Outcome, Plugins, Verb};
pub use process::{Output, Process};
pub use wait::{patience, wait_for};
pub use world::{Difference, World};
