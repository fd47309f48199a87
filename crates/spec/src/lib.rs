//! Wire types: what container runtimes send us and what we answer, and the names in both.
//! Every other crate stands on this one; runtimes, plugins and `wharf` all parse through it.
//! It must never do I/O, never read a clock, and never guess: what it cannot read it refuses by key.

pub mod cni;
pub mod docker;
pub mod fields;
pub mod names;

pub use fields::{BadField, Fields};
pub use names::{BadName, ContainerId, IfName, NetworkName, VlanId, Vni, VolumeName};
