//! Addresses: which may be given out, which are, and to whom; the files of the reference's host-local.
//! The bridge plugin and the `host-local` binary stand on it; both reach the same functions.
//! It must never keep an address without a lease file, nor free one whose file names somebody else.

pub mod address;
pub mod config;
#[cfg(feature = "domain")]
pub mod domain;
pub mod error;
pub mod host_local;
pub mod lease;
pub mod operator;
pub mod pick;
pub mod pool;
pub mod pools;
pub mod range;
pub mod resolv;
pub mod slices;
pub mod store;
pub mod uninstall;

pub use error::{Error, Usage};
