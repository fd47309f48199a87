//! What an operator does with leases by hand: look at them, free one, keep one from being given out.
//! Called by the commands of the `host-local` binary.
//! Must never need a network configuration, which only runtimes have.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use wharfline_spec::{ContainerId, NetworkName};

use crate::address::Addr;
use crate::error::Error;
use crate::lease::{Holder, Owner};
use crate::store::{Fault, Lease, Place, Site, Store};

/// A lease as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The network.
    pub network: NetworkName,
    /// The address.
    pub addr: Addr,
    /// Whose it is; `None` for a file that a crash left empty, or that cannot be read.
    pub holder: Option<Holder>,
    /// When it was written.
    pub written: Option<SystemTime>,
}

/// All leases below `data_dir`, by network and address. Takes no lock: it may miss what changes
/// meanwhile, and holds nobody up.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read; one that is not there holds nothing.
pub fn list(data_dir: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for name in names_in(data_dir)? {
        // Other names are no networks: our own folder `.wharfline` among them.
        let Ok(network) = NetworkName::new(&name) else {
            continue;
        };
        let folder = data_dir.join(&name);
        if !folder.is_dir() {
            continue;
        }
        for name in names_in(&folder)? {
            let Some(addr) = Addr::from_file_name(&name) else {
                continue;
            };
            let path = folder.join(&name);
            let holder = std::fs::read(&path)
                .ok()
                .and_then(|content| Holder::of_content(&content));
            let written = path.metadata().and_then(|meta| meta.modified()).ok();
            entries.push(Entry {
                network: network.clone(),
                addr,
                holder,
                written,
            });
        }
    }
    entries.sort_by(|a, b| (&a.network, a.addr).cmp(&(&b.network, b.addr)));
    Ok(entries)
}

/// Frees one address, whoever has it, and tells who had.
///
/// # Errors
/// [`Error::Io`] and [`Error::Busy`] as for every store.
pub fn release_address(site: &Site, place: &Place, addr: Addr) -> Result<Vec<Lease>, Error> {
    release(site, place, &|store| {
        let lease = store.holder_of(addr)?.map(|holder| Lease { addr, holder });
        Ok(lease.into_iter().collect())
    })
}

/// Frees every address of a container, and tells which.
///
/// # Errors
/// [`Error::Io`] and [`Error::Busy`] as for every store.
pub fn release_container(
    site: &Site,
    place: &Place,
    container: &ContainerId,
) -> Result<Vec<Lease>, Error> {
    release(site, place, &|store| {
        let mut leases = store.select(&|_| true)?;
        leases.retain(|lease| lease.holder.container() == container.as_str());
        Ok(leases)
    })
}

/// Keeps an address from being given out to containers until it is released by hand.
///
/// # Errors
/// [`Error::Requested`] when somebody has it.
pub fn reserve(site: &Site, place: &Place, addr: Addr) -> Result<(), Error> {
    let mut store = Store::create(site, place)?;
    store.fence()?;
    store.settled(|store| {
        if store.is_taken(addr)? {
            let holder = store.holder_of(addr)?;
            let holder =
                holder.map_or_else(|| "nobody we could read".to_owned(), |h| h.to_string());
            let (ranges, why) = (
                place.network.to_string(),
                format!("it is leased to {holder}"),
            );
            return Err(Error::Requested {
                ip: addr.ip(),
                ranges,
                why,
            }
            .into());
        }
        store.publish(&Owner::operator(), &[addr])
    })?;
    store.seal();
    Ok(())
}

fn release(
    site: &Site,
    place: &Place,
    find: &dyn Fn(&mut Store<'_>) -> Result<Vec<Lease>, Fault>,
) -> Result<Vec<Lease>, Error> {
    let Some(mut store) = Store::open(site, place)? else {
        return Ok(Vec::new());
    };
    let released = store.settled(|store| {
        let leases = find(store)?;
        store.cool(&leases);
        store.withdraw(&leases)?;
        Ok(leases)
    })?;
    store.seal();
    Ok(released)
}

fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |cause| Error::Io {
        action: "list",
        path: folder.to_owned(),
        cause,
    };
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut names = Vec::new();
    for entry in listing {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}
