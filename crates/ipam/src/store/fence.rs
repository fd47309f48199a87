//! Leases and boots: what an earlier boot left is reclaimed once, released addresses cool down.
//! Called by ADD, GC and STATUS after the store is open, and by every write and release.
//! Must never reclaim a lease whose container may live, nor fail a verb that could do without.

use std::io;
use std::time::SystemTime;

use super::boot::{self, BootFile};
use super::cooling::{Cooling, CoolingFile};
use super::{Fault, Lease, Store, results};
use crate::address::Addr;
use crate::error::Error;

impl Store<'_> {
    /// Sees to the first use in a new boot: leases that were written in the earlier boot go, unless a
    /// result cache names a living namespace of their container. Where we never were before, nothing
    /// tells an earlier boot's lease from a new one of the reference, and nothing goes.
    ///
    /// # Errors
    /// [`Error::Io`] when leases cannot be read or removed.
    pub fn fence(&mut self) -> Result<(), Error> {
        let Some(now) = boot::current(&self.site.boot_id) else {
            return Ok(());
        };
        if self.index.boot() != now {
            let file = self.boot_file();
            match file.read() {
                Ok(Some(mark)) if mark.boot == now => {}
                Ok(mark) => {
                    let earlier = mark
                        .map(|mark| mark.last_write)
                        .filter(|end| *end <= SystemTime::now());
                    if let Some(end) = earlier {
                        self.settled(|store| store.reclaim(end))?;
                    }
                    self.keep_note("write boot mark beside", file.write(&now, earlier));
                }
                Err(cause) => self.keep_note("read boot mark beside", Err(cause)),
            }
            self.index.set_boot(&now);
        }
        self.boot = Some(now);
        Ok(())
    }

    /// Whether a lease is of an earlier boot of the machine.
    #[must_use]
    pub fn is_of_earlier_boot(&self, addr: Addr) -> bool {
        let earlier = self
            .boot_file()
            .read()
            .ok()
            .flatten()
            .and_then(|mark| mark.earlier);
        let written = self.written(addr);
        earlier.is_some_and(|earlier| written.is_some_and(|written| written <= earlier))
    }

    /// The addresses that were released less than the network's cooldown ago.
    #[must_use]
    pub fn cooling(&self) -> Cooling {
        if self.place.cooldown.is_zero() {
            return Cooling::default();
        }
        let boot = boot::current(&self.site.boot_id).unwrap_or_default();
        self.cooling_file()
            .read(&boot, self.place.cooldown)
            .unwrap_or_else(|cause| {
                self.keep_note("read cooling addresses beside", Err(cause));
                Cooling::default()
            })
    }

    /// Notes that addresses are about to be released, where the network has a cooldown.
    pub fn cool(&self, leases: &[Lease]) {
        let file = self.cooling_file();
        if leases.is_empty() || (self.place.cooldown.is_zero() && !file.exists()) {
            return;
        }
        let boot = boot::current(&self.site.boot_id).unwrap_or_default();
        let released: Vec<Addr> = leases.iter().map(|lease| lease.addr).collect();
        self.keep_note("note cooling addresses beside", file.note(&boot, &released));
    }

    /// Sets the time of our last write in this boot to now.
    pub(super) fn mark_write(&self) {
        let Some(boot) = &self.boot else { return };
        let file = self.boot_file();
        let marked = match file.touch() {
            Ok(true) => Ok(()),
            Ok(false) => file.write(boot, None),
            Err(cause) => Err(cause),
        };
        self.keep_note("touch boot mark beside", marked);
    }

    fn reclaim(&mut self, end: SystemTime) -> Result<(), Fault> {
        let network = self.place.network.as_str();
        let mut dead = self.select(&|_| true)?;
        dead.retain(|lease| {
            !lease.holder.is_operator()
                && self
                    .written(lease.addr)
                    .is_some_and(|written| written <= end)
                && !results::name_a_living_netns(&self.site.results, network, &lease.holder)
        });
        for lease in &dead {
            tracing::info!(
                "{network}: reclaim {} of {}: of an earlier boot",
                lease.addr,
                lease.holder
            );
        }
        self.withdraw(&dead)
    }

    fn boot_file(&self) -> BootFile {
        BootFile::of(&self.place.beside(), self.place.network.as_str())
    }

    fn cooling_file(&self) -> CoolingFile {
        CoolingFile::of(&self.place.beside(), self.place.network.as_str())
    }

    /// What lies beside the leases serves later calls; this one goes on without.
    fn keep_note(&self, action: &'static str, outcome: io::Result<()>) {
        if let Err(cause) = outcome {
            tracing::warn!("{}", self.io(action, cause));
        }
    }
}
