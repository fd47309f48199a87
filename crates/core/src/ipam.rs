//! Where addresses come from, as the engine sees it: a lease is taken, given back, checked.
//! Implemented in process by crates/ipam and by exec in crates/cni; one value serves one request.
//! It must never be asked for an address while the network's lock is held.

use wharfline_spec::cni::result::CniResult;

use crate::error::Result;

/// The source of one request's addresses. Nothing of it has a default body: a source that forgot to give back would leak.
pub trait Ipam {
    /// Takes addresses for the attachment. On failure nothing is taken.
    fn acquire(&self) -> Result<CniResult>;
    /// Gives them back; nothing to give back is success.
    fn release(&self) -> Result<()>;
    /// Whether the attachment's addresses are still its own.
    fn check(&self) -> Result<()>;
    /// Gives back what belongs to no valid attachment of the network.
    fn gc(&self) -> Result<()>;
    /// Whether an address could be had now.
    fn status(&self) -> Result<()>;
}

/// Addresses that somebody else has leased and will give back (Docker's IPAM driver); `None` for a network of links only.
#[derive(Debug, Clone, Default)]
pub struct GivenIpam(pub Option<CniResult>);

/// A network of links only: no address is taken, none is given back.
pub static NO_IPAM: GivenIpam = GivenIpam(None);

impl Ipam for GivenIpam {
    fn acquire(&self) -> Result<CniResult> {
        Ok(self.0.clone().unwrap_or_default())
    }
    fn release(&self) -> Result<()> {
        Ok(())
    }
    fn check(&self) -> Result<()> {
        Ok(())
    }
    fn gc(&self) -> Result<()> {
        Ok(())
    }
    fn status(&self) -> Result<()> {
        Ok(())
    }
}
