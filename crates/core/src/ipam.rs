//! Where addresses come from, as the engine sees it: a lease is taken, given back, checked.
//! Implemented in process by crates/ipam and by exec in crates/cni; one value serves one request.
//! It must never be asked for an address while the network's lock is held.

use wharfline_spec::cni::result::CniResult;

use crate::error::Result;

/// The source of one request's addresses. What is not written here for a source is nothing to do for it: it has given
/// nothing out.
pub trait Ipam {
    /// Takes addresses for the attachment. On failure nothing is taken.
    fn acquire(&self) -> Result<CniResult>;
    /// Gives them back; nothing to give back is success.
    fn release(&self) -> Result<()> {
        Ok(())
    }
    /// Whether the attachment's addresses are still its own.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// Gives back what belongs to no valid attachment of the network.
    fn gc(&self) -> Result<()> {
        Ok(())
    }
    /// Whether an address could be had now.
    fn status(&self) -> Result<()> {
        Ok(())
    }
}

/// A network of links only: no address is taken, none is given back.
#[derive(Debug, Clone, Copy)]
pub struct NoIpam;

impl Ipam for NoIpam {
    fn acquire(&self) -> Result<CniResult> {
        Ok(CniResult::default())
    }
}

/// Addresses that somebody else has leased and will give back: Docker's IPAM driver.
#[derive(Debug, Clone, Default)]
pub struct GivenIpam(pub CniResult);

impl Ipam for GivenIpam {
    fn acquire(&self) -> Result<CniResult> {
        Ok(self.0.clone())
    }
}
