//! The leases of one network: the files of the reference's host-local, held under their lock.
//! Opened by each verb for as long as it runs; gives out, takes back and lists leases.
//! Must never show a lease that is not whole, nor remove one without having read whose it is.

mod boot;
mod cooling;
mod fence;
mod folder;
mod index;
mod lock;
mod owners;
mod pages;
mod results;
mod site;
mod taken;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use cooling::Cooling;
pub use site::{DEFAULT_DATA_DIR, Place, Site};

use crate::address::{Addr, Span};
use crate::error::Error;
use crate::lease::{Holder, Owner};
use crate::pick::Taken;
use folder::{Folder, Identity};
use index::Index;
use owners::Slot;

/// A failure, or the discovery that the index is not what the directory is.
#[derive(Debug)]
pub enum Fault {
    /// The index lies: somebody changed the directory without its lock, or the index was damaged.
    Stale,
    /// A failure to report.
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Failed(error)
    }
}

/// A lease as it was read from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub addr: Addr,
    /// Whose it is.
    pub holder: Holder,
}

/// The leases of one network, locked.
#[derive(Debug)]
pub struct Store<'s> {
    site: &'s Site,
    place: &'s Place,
    folder: Folder,
    identity: Identity,
    index: Index,
    /// Boot id of this boot, and whether its first use was seen to.
    boot: Option<String>,
    /// Ends last: the lock goes with it.
    _lock: File,
}

impl<'s> Store<'s> {
    /// Locks the leases of a network; `None` when it has no directory, hence none.
    ///
    /// # Errors
    /// [`Error::Io`] for a directory that cannot be used, [`Error::Busy`] when the lock is not to be had.
    pub fn open(site: &'s Site, place: &'s Place) -> Result<Option<Store<'s>>, Error> {
        let path = place.folder();
        match Folder::open(&path) {
            Ok(None) => Ok(None),
            Ok(Some(folder)) => Store::lock(site, place, folder).map(Some),
            Err(cause) => Err(Error::Io {
                action: "open lease directory",
                path,
                cause,
            }),
        }
    }

    /// Locks the leases of a network, whose directory is made when it is not there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn create(site: &'s Site, place: &'s Place) -> Result<Store<'s>, Error> {
        let path = place.folder();
        match Folder::create(&path) {
            Ok(folder) => Store::lock(site, place, folder),
            Err(cause) => Err(Error::Io {
                action: "make lease directory",
                path,
                cause,
            }),
        }
    }

    fn lock(site: &'s Site, place: &'s Place, folder: Folder) -> Result<Store<'s>, Error> {
        let path = folder.path().join("lock");
        let failed = |action, cause| Error::Io {
            action,
            path: path.clone(),
            cause,
        };
        let file = folder
            .lock_file()
            .map_err(|cause| failed("open lock", cause))?;
        let lock = lock::lock(file, site.lock_wait).map_err(|refusal| match refusal {
            lock::Refusal::Busy => Error::Busy {
                path: path.clone(),
                waited: site.lock_wait,
            },
            lock::Refusal::Failed(cause) => failed("lock", cause),
        })?;
        let identity = folder
            .identity()
            .map_err(|cause| failed("stat the directory of", cause))?;
        let index = match Index::stored(&site.index, identity) {
            Some(index) => index,
            None => index_of(&folder)?,
        };
        Ok(Store {
            site,
            place,
            folder,
            identity,
            index,
            boot: None,
            _lock: lock,
        })
    }

    /// Does something that relies on the index, once more on a new index if the first proves stale.
    ///
    /// # Errors
    /// Those of `act`; [`Error::Io`] when the new index does not fit the directory either.
    pub fn settled<T>(&mut self, act: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<T, Error> {
        for _ in 0..2 {
            match act(self) {
                Ok(done) => return Ok(done),
                Err(Fault::Failed(error)) => return Err(error),
                Err(Fault::Stale) => {
                    let boot = self.index.boot().to_owned();
                    self.index = index_of(&self.folder)?;
                    self.index.set_boot(&boot);
                }
            }
        }
        let cause = io::Error::other("it changes while we hold its lock");
        Err(self.io("read lease directory", cause))
    }

    /// The leases of a holder, each read from its file.
    ///
    /// # Errors
    /// [`Fault::Stale`] when a file does not say what the index says.
    pub fn leases_of(&mut self, holder: &Holder) -> Result<Vec<Lease>, Fault> {
        let found = self.index.find(holder.hash64()).map_err(|_| Fault::Stale)?;
        let mut leases = Vec::new();
        for addr in found {
            match self.holder_of(addr)? {
                Some(actual) if actual == *holder => leases.push(Lease {
                    addr,
                    holder: actual,
                }),
                // Two holders may have one hash; no holder at all is a lie of the index.
                Some(actual) if actual.hash64() == holder.hash64() => {}
                _ => return Err(Fault::Stale),
            }
        }
        leases.sort_unstable_by_key(|lease| lease.addr);
        Ok(leases)
    }

    /// Whose an address is, read from its file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn holder_of(&self, addr: Addr) -> Result<Option<Holder>, Error> {
        let content = self.folder.read(&addr.to_string());
        let content = content.map_err(|cause| self.io_at(addr, "read lease", cause))?;
        Ok(content.and_then(|content| Holder::of_content(&content)))
    }

    /// Whether somebody has the address.
    ///
    /// # Errors
    /// [`Fault::Stale`] when the index cannot tell.
    pub fn is_taken(&mut self, addr: Addr) -> Result<bool, Fault> {
        self.index.is_taken(addr).map_err(|_| Fault::Stale)
    }

    /// Number of leases; a bound for what a count can find.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.index.leases()
    }

    /// Whether there is no lease.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many addresses of the span are leased. Its cost grows with the span.
    ///
    /// # Errors
    /// [`Fault::Stale`] when the index cannot tell.
    pub fn count(&mut self, span: Span) -> Result<u128, Fault> {
        self.index.count(span).map_err(|_| Fault::Stale)
    }

    /// The address that was given out last in a range set; only a hint.
    #[must_use]
    pub fn last_reserved(&self, set: usize) -> Option<Addr> {
        let content = self.folder.read(&last_reserved_name(set)).ok()??;
        let ip: IpAddr = str::from_utf8(&content).ok()?.trim().parse().ok()?;
        Some(Addr::from(ip))
    }

    /// Gives out addresses: all of them or none.
    ///
    /// # Errors
    /// [`Fault::Stale`] when an address is taken though the index says it is free; [`Error::Io`] when
    /// the file system refuses. Nothing was given out then.
    pub fn publish(&mut self, owner: &Owner, addrs: &[Addr]) -> Result<(), Fault> {
        let content = owner.holder().as_str();
        let mut staged = Vec::with_capacity(addrs.len());
        for addr in addrs {
            let lease = self.folder.stage(content);
            staged.push(lease.map_err(|cause| self.io_at(*addr, "write lease", cause))?);
        }
        // Before the leases have their names: every lease of a boot is older than its boot's mark, or
        // one that a crash left here would never be known as of an earlier boot.
        self.mark_write();
        for (done, (lease, addr)) in staged.iter().zip(addrs).enumerate() {
            if let Err(cause) = self.folder.publish(lease, &addr.to_string()) {
                let failure = self.io_at(*addr, "write lease", cause);
                return Err(self.unpublish(&addrs[..done], failure));
            }
        }
        for addr in addrs {
            self.note(*addr, owner.holder());
        }
        Ok(())
    }

    /// Takes addresses back; the leases were read by [`Store::leases_of`] or [`Store::select`].
    ///
    /// # Errors
    /// [`Fault::Stale`] when the index did not have a lease, [`Error::Io`] when one cannot be removed.
    pub fn withdraw(&mut self, leases: &[Lease]) -> Result<(), Fault> {
        for Lease { addr, holder } in leases {
            let removed = self.folder.remove(&addr.to_string());
            removed.map_err(|cause| self.io_at(*addr, "remove lease", cause))?;
            let slot = Slot {
                hash: holder.hash64(),
                addr: *addr,
            };
            if !self.index.remove(slot).unwrap_or(false) {
                return Err(Fault::Stale);
            }
        }
        Ok(())
    }

    /// Every lease whose holder's hash is asked for by `wanted`, read from its file.
    ///
    /// # Errors
    /// [`Fault::Stale`] when the index cannot tell, [`Error::Io`] when a file cannot be read.
    pub fn select(&mut self, wanted: &dyn Fn(u64) -> bool) -> Result<Vec<Lease>, Fault> {
        let slots = self.index.all().map_err(|_| Fault::Stale)?;
        let mut leases = Vec::new();
        for slot in slots.into_iter().filter(|slot| wanted(slot.hash)) {
            match self.holder_of(slot.addr) {
                Ok(Some(holder)) => leases.push(Lease {
                    addr: slot.addr,
                    holder,
                }),
                // What cannot be read is taken, and nobody's: see `index_of`.
                _ if slot.hash == NOBODY => {}
                Ok(None) => return Err(Fault::Stale),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(leases)
    }

    /// When a lease was written; `None` when there is none.
    #[must_use]
    pub fn written(&self, addr: Addr) -> Option<SystemTime> {
        self.folder.written(&addr.to_string()).ok()?
    }

    /// Makes a lease one of now.
    pub fn renew(&mut self, addr: Addr) {
        self.mark_write();
        if let Err(cause) = self.folder.touch(&addr.to_string()) {
            tracing::warn!("{}", self.io_at(addr, "renew lease", cause));
        }
    }

    /// Keeps the index for the next one who opens these leases, and vouches for it: the directory gets
    /// a time of last change that nobody else can give it. Without an index all is as right, but slow.
    pub fn seal(mut self) {
        if self.index.is_changed()
            && let Err(cause) = self.try_seal()
        {
            tracing::debug!("{}: no index: {cause}", self.site.index.display());
        }
    }

    fn try_seal(&mut self) -> io::Result<()> {
        let stamp = new_stamp();
        self.index.save(&self.site.index, self.identity, stamp)?;
        self.folder.set_mtime(stamp)
    }

    fn unpublish(&mut self, done: &[Addr], failure: Error) -> Fault {
        for addr in done {
            if let Err(cause) = self.folder.remove(&addr.to_string()) {
                tracing::warn!("{}", self.io_at(*addr, "remove lease", cause));
            }
        }
        match failure {
            Error::Io { cause, .. } if cause.kind() == io::ErrorKind::AlreadyExists => Fault::Stale,
            other => Fault::Failed(other),
        }
    }

    /// The lease is there whatever the index makes of it: an index that cannot be changed is not saved.
    fn note(&mut self, addr: Addr, holder: &Holder) {
        if let Err(cause) = self.index.insert(Slot {
            hash: holder.hash64(),
            addr,
        }) {
            tracing::debug!("{}: note {addr}: {cause}", self.site.index.display());
            self.index.disown();
        }
    }

    /// Keeps the address that was given out last in a range set, where the next search begins.
    pub fn remember_last(&self, set: usize, addr: Addr) {
        let written = self
            .folder
            .overwrite(&last_reserved_name(set), &addr.to_string());
        // Only where the next search begins is lost.
        if let Err(cause) = written {
            tracing::warn!("{}", self.io("write last_reserved_ip in", cause));
        }
    }

    fn io(&self, action: &'static str, cause: io::Error) -> Error {
        Error::Io {
            action,
            path: self.folder.path().to_owned(),
            cause,
        }
    }

    fn io_at(&self, addr: Addr, action: &'static str, cause: io::Error) -> Error {
        let path: PathBuf = self.folder.path().join(addr.to_string());
        Error::Io {
            action,
            path,
            cause,
        }
    }
}

impl Taken for Store<'_> {
    type Error = Fault;

    fn next_free(&mut self, span: Span) -> Result<Option<Addr>, Fault> {
        self.index.next_free(span).map_err(|_| Fault::Stale)
    }
}

/// Name of the file with the address given out last in a range set.
fn last_reserved_name(set: usize) -> String {
    format!("last_reserved_ip.{set}")
}

/// Hash of leases that name nobody we could read; no owner is looked for under it.
const NOBODY: u64 = 0;

/// Reads every lease of a directory. Leases that a crash left empty are removed: whoever writes one
/// holds the lock that we hold now.
fn index_of(folder: &Folder) -> Result<Index, Error> {
    let failed = |cause| Error::Io {
        action: "read lease directory",
        path: folder.path().to_owned(),
        cause,
    };
    // Counted first and then read, one at a time: a list of 65,000 would take more memory than the index of them.
    let mut leases = 0;
    let counted = folder.for_each_name(|name| {
        leases += usize::from(Addr::from_file_name(name).is_some());
        Ok(())
    });
    counted.map_err(failed)?;
    let mut index = Index::with_room_for(leases);
    let read = folder.for_each_name(|name| match slot_of(folder, name) {
        Some(slot) => index.insert(slot),
        None => Ok(()),
    });
    read.map_err(failed)?;
    Ok(index)
}

/// The lease in the file of that name, if it is one.
fn slot_of(folder: &Folder, name: &str) -> Option<Slot> {
    let addr = Addr::from_file_name(name)?;
    let hash = match folder.read(name) {
        Ok(Some(content)) => match Holder::of_content(&content) {
            Some(holder) => holder.hash64(),
            None if folder.remove(name).is_ok() => return None,
            None => NOBODY,
        },
        Ok(None) => return None,
        Err(_) => NOBODY,
    };
    Some(Slot { hash, addr })
}

/// The present second with a part of it that nobody can guess: any other change of the directory gives
/// another time, however coarse the file system's clock is.
fn new_stamp() -> index::Stamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = RandomState::new().hash_one(now) % 1_000_000_000;
    (
        i64::try_from(now.as_secs()).unwrap_or(0),
        i64::try_from(nanos).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests;
