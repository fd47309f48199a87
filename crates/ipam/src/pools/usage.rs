//! How much of each pool is given out: for metrics, and for whoever wonders why a pool is full.
//! Docker's face of host-local asks for it when somebody reads the metrics.
//! It must never take a lock of the store's: a reader holds nobody up.

use std::fs;

use super::{Pools, io_at};
use crate::address::Addr;
use crate::error::Error;
use crate::pool::Pool;

/// Addresses of a pool that containers can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The pool.
    pub pool: Pool,
    /// Leased ones, the gateway's among them.
    pub used: u128,
    /// The others.
    pub free: u128,
}

impl Pools {
    /// The usage of every pool, of now: what changes meanwhile may be in it or not.
    ///
    /// # Errors
    /// [`Error::Io`] when pools or leases cannot be listed.
    pub fn usage(&self) -> Result<Vec<Usage>, Error> {
        let pools = self.all()?.into_iter();
        pools.map(|pool| self.usage_of(pool)).collect()
    }

    fn usage_of(&self, pool: Pool) -> Result<Usage, Error> {
        let Some(span) = pool.span() else {
            let (used, free) = (0, 0);
            return Ok(Usage { pool, used, free });
        };
        let leases = pool
            .leases()
            .map(|name| self.folder.join("leases").join(name.as_str()));
        let mut used = 0;
        if let Some(folder) = leases.filter(|folder| folder.is_dir()) {
            for entry in fs::read_dir(&folder).map_err(io_at("list", &folder))? {
                let name = entry.map_err(io_at("list", &folder))?.file_name();
                let addr = name.to_str().and_then(Addr::from_file_name);
                // Another part of the subnet has its leases in the same folder.
                used += u128::from(addr.is_some_and(|addr| span.contains(addr)));
            }
        }
        let free = span.len().saturating_sub(used);
        Ok(Usage { pool, used, free })
    }
}
