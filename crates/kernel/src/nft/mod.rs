//! nftables without a process: our tables, their elements, and what we need in other firewalls' tables.
//! The engine's operations and portmap call it, each through one [`Nft`] per network namespace.
//! It must never hold a rule per endpoint: whatever is particular to one is an element of a set or map.
//!
//! ```text
//! verify / lay     base.rs      the tables' rules, laid once per host by nft(8), sealed by a digest of themselves
//! believe          generation.rs  sparing the verification while nobody has changed anything
//! create, delete   elements.rs  elements: one transaction each over nfnetlink
//! let through      foreign.rs   one rule in each forward chain of others that drops
//! forget           conntrack.rs stale UDP flows of a published port
//! clear            predecessor.rs  rules that the reference plugins left
//! ```

mod base;
mod boundary;
mod conntrack;
mod element;
mod elements;
mod foreign;
mod generation;
mod parting;
mod predecessor;
mod present;
mod rule;
mod socket;
mod table;
mod tag;
mod wire;

pub use base::{Standing, tool_is_installed};
pub use boundary::Boundary;
pub use element::{Element, Protocol};
pub use elements::Occupant;
pub use foreign::{ForwardChain, Search};
pub use generation::Vouched;
pub use predecessor::Named;
pub use table::{BASE_VERSION, BadConditions, Conditions, MARK, Table};
pub use tag::{BadTag, Tag};

use crate::error::Result;
use socket::NetfilterSocket;

/// An open nfnetlink socket; it stays bound to the network namespace of the thread that opened it.
///
/// Closing it costs nothing, whatever it deleted (`parting.rs`).
pub struct Nft {
    socket: NetfilterSocket,
    vouched: Option<Vouched>,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self {
            socket: NetfilterSocket::open()?,
            vouched: None,
        })
    }
}
