//! The domain: what an attachment is, how it is planned, done, taken back, checked and collected.
//! Plugins bring a [`driver::Driver`]; the CNI and Docker faces call the [`engine::Engine`].
//! It must never parse a protocol, and never touch the kernel but through `wharfline-kernel`.
//!
//! ```text
//! engine/         the verbs: add, del, check, collect (GC), status
//! driver, plan    what a plugin decides; operations as values
//! transaction     operations done in order, each with its undo
//! perform, undo, remove, verify    one operation: done, taken back, deleted, compared
//! record, state, lock, former      the index under /run, and who may change it
//! uninstall       what stays after the last container, and taking it away
//! tables, cascade, vlan_gateway    shared things: our nftables tables, further bridges, a foot in a VLAN
//! vouched         which of our tables need not be looked at again
//! sub_interface   links that stand on another, and their parents
//! publish         what published ports consist of, and who has one already
//! passage         other firewalls that drop what we forward
//! ```

pub mod attachment;
pub mod cascade;
pub mod driver;
pub mod engine;
pub mod error;
mod evict;
mod former;
pub mod ipam;
mod isolated_parent;
pub mod lock;
mod mac;
mod outcome;
pub mod passage;
mod perform;
pub mod plan;
mod port_vlan;
pub mod publish;
pub mod record;
mod remove;
pub mod session;
pub mod state;
pub mod sub_interface;
pub mod tables;
mod transaction;
mod undo;
pub mod uninstall;
mod verify;
pub mod vlan_gateway;
mod vouched;

pub use error::{Error, ErrorKind, Result};
