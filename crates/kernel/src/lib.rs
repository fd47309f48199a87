//! The only crate that enters a network namespace, opens netlink, writes a sysctl, changes nftables, or mounts a volume.
//! `core` performs its operations through it; plugins observe through it.
//! It must never decide anything, and never hold policy: it says what it tried and what the kernel answered.

pub mod address;
pub mod announce;
pub mod arrival;
pub mod bridge_port;
pub mod child;
pub mod duplicate_detection;
pub mod error;
pub mod fs;
pub mod hash;
pub mod inherited;
pub mod legacy_filter;
pub mod link;
mod link_answer;
pub mod listener;
pub mod neighbour;
pub mod netns;
pub mod nft;
pub mod probe;
pub mod route;
pub mod route_socket;
pub mod sub_interface;
pub mod sysctl;

pub use error::{KernelError, Result};
pub use netns::{Netns, NetnsId};
pub use route_socket::RouteSocket;
