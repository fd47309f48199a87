//! The pools of a host and their leases, on a disk that outlives plugin, dockerd and machine.
//! Docker's face of host-local calls it; the leases are files of the same store that CNI uses.
//! It must never give an address out twice, nor forget a pool that has leases.

mod usage;

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::address::Addr;
use crate::error::Error;
use crate::lease::Owner;
use crate::operator;
use crate::pick::{Pick, pick};
use crate::pool::{BadPool, Pool};
use crate::slices::{default_bases, first_free, unique_local};
use crate::store::{Fault, Place, Site, Store};

pub use usage::Usage;

/// Where pools and leases are kept.
pub const STATE_DIR: &str = "/var/lib/wharfline/ipam";

/// Why a pool could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The request is no pool.
    #[error(transparent)]
    Bad(#[from] BadPool),
    /// Another pool has some of its addresses.
    #[error("pool {wanted} overlaps with pool {other}")]
    Clash {
        /// The pool that was asked for.
        wanted: String,
        /// The one that is there.
        other: String,
    },
    /// Every slice of the bases is taken.
    #[error("no free subnet is left in {bases}: each is routed to or another network's")]
    Exhausted {
        /// Where was looked.
        bases: String,
    },
    /// No pool has this identifier.
    #[error("pool {0} is not known")]
    Unknown(String),
    /// The leases.
    #[error(transparent)]
    Lease(#[from] Error),
}

/// Which address of a pool is wanted, and for whom.
#[derive(Debug, Clone)]
pub struct Want {
    /// This one, or any.
    pub address: Option<IpAddr>,
    /// Whether it is the subnet's gateway: then the first host's is the one to have, and it may be asked for again.
    pub gateway: bool,
    /// Whose it will be.
    pub owner: Owner,
}

/// All pools of a host.
#[derive(Debug)]
pub struct Pools {
    folder: PathBuf,
    site: Site,
    /// Where subnets come from when a network names none, of both families.
    bases: Vec<IpNetwork>,
    /// Held by every change: the folder of a pool's leases goes with it.
    changing: Mutex<()>,
}

impl Pools {
    /// The pools below `folder`; subnets that nobody names are cut from `bases`, or where a family has none there, from
    /// private space.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made.
    pub fn open(folder: &Path, mut bases: Vec<IpNetwork>) -> Result<Pools, Error> {
        let pools = folder.join("pools");
        fs::create_dir_all(&pools).map_err(io_at("make folder", &pools))?;
        if !bases.iter().any(IpNetwork::is_ipv4) {
            bases.extend(default_bases());
        }
        if !bases.iter().any(IpNetwork::is_ipv6) {
            bases.push(unique_local(host_number(folder)?));
        }
        Ok(Pools {
            folder: folder.to_owned(),
            site: Site::default(),
            bases,
            changing: Mutex::new(()),
        })
    }

    /// The pool that is asked for by its subnet. The same request gets the same pool.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn request(&self, pool: Pool) -> Result<Pool, PoolError> {
        let _alone = self.alone();
        let all = self.all()?;
        if let Some(other) = all.iter().find(|other| pool.clashes_with(other)) {
            let (wanted, other) = (pool.id(), other.id());
            return Err(PoolError::Clash { wanted, other });
        }
        if !all.contains(&pool) {
            self.write(&pool)?;
        }
        Ok(pool)
    }

    /// A new pool for a network that names no subnet. `routed` is where the host's routes lead.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn request_any(
        &self,
        space: &str,
        v6: bool,
        routed: &[IpNetwork],
    ) -> Result<Pool, PoolError> {
        let _alone = self.alone();
        let of_family = |network: &&IpNetwork| network.is_ipv6() == v6;
        // Another space's pools are on this host, too.
        let mut taken: Vec<IpNetwork> = self.all()?.iter().map(|pool| pool.subnet).collect();
        taken.extend(routed);
        taken.retain(|network| network.is_ipv6() == v6);
        let bases: Vec<IpNetwork> = self.bases.iter().filter(of_family).copied().collect();
        let Some(subnet) = first_free(&bases, &taken) else {
            let bases: Vec<String> = bases.iter().map(ToString::to_string).collect();
            let bases = bases.join(", ");
            return Err(PoolError::Exhausted { bases });
        };
        let pool = Pool::new(space, subnet, None)?;
        self.write(&pool)?;
        Ok(pool)
    }

    /// Gives a pool back. One that still has leases stays: another network has it, too. Unknown is success.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn release(&self, id: &str) -> Result<(), PoolError> {
        let _alone = self.alone();
        let Some(pool) = self.all()?.into_iter().find(|pool| pool.id() == id) else {
            return Ok(());
        };
        let place = self.place(&pool)?;
        if let Some(store) = Store::open(&self.site, &place).map_err(PoolError::Lease)?
            && !store.is_empty()
        {
            tracing::info!(pool = %id, leases = store.len(), "the pool stays: it has leases");
            return Ok(());
        }
        let path = self.file(&pool);
        fs::remove_file(&path).map_err(io_at("remove pool", &path))?;
        let shared = |other: &Pool| other.leases() == pool.leases();
        if !self.all()?.iter().any(shared) {
            self.remove_leases(&place)?;
        }
        Ok(())
    }

    /// Gives out an address.
    ///
    /// # Errors
    /// [`PoolError`]: the pool is unknown or exhausted, the address is another's or not of the pool.
    pub fn take(&self, id: &str, want: &Want) -> Result<IpNetwork, PoolError> {
        let _alone = self.alone();
        let pool = self.find(id)?;
        let place = self.place(&pool)?;
        let mut store = Store::create(&self.site, &place)?;
        let addr = store.settled(|store| choose(store, &pool, want))?;
        if want.address.is_none() && !want.gateway {
            store.remember_last(0, addr);
        }
        store.seal();
        let answered = pool.with_prefix(addr);
        answered.ok_or_else(|| PoolError::Unknown(id.to_owned()))
    }

    /// Gives an address back; one that nobody has is success.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn give_back(&self, id: &str, address: IpAddr) -> Result<(), PoolError> {
        let _alone = self.alone();
        let pool = match self.find(id) {
            Err(PoolError::Unknown(_)) => return Ok(()),
            found => found?,
        };
        let place = self.place(&pool)?;
        operator::release_address(&self.site, &place, Addr::from(address))?;
        Ok(())
    }

    /// Every pool.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be read: it might be the one that clashes.
    pub fn all(&self) -> Result<Vec<Pool>, Error> {
        let folder = self.folder.join("pools");
        let failed = io_at("read pools in", &folder);
        let mut pools = Vec::new();
        for entry in fs::read_dir(&folder).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            if path.extension().is_some_and(|end| end == "json") {
                let bytes = fs::read(&path).map_err(io_at("read pool", &path))?;
                let pool = serde_json::from_slice(&bytes);
                pools.push(pool.map_err(|e| io_at("read pool", &path)(e.into()))?);
            }
        }
        Ok(pools)
    }

    fn find(&self, id: &str) -> Result<Pool, PoolError> {
        let unknown = || PoolError::Unknown(id.to_owned());
        // The file is named after the identifier, so one that a client made up leads nowhere else.
        let mut parts = id.splitn(3, '/');
        let (space, address) = (parts.next(), parts.next());
        let rest = parts.next().ok_or_else(unknown)?;
        let (prefix, part) = match rest.split_once('/') {
            Some((prefix, part)) => (prefix, Some(part)),
            None => (rest, None),
        };
        let (Some(space), Some(address)) = (space, address) else {
            return Err(unknown());
        };
        let subnet = format!("{address}/{prefix}")
            .parse()
            .map_err(|_| unknown())?;
        let part = part.map(str::parse).transpose().map_err(|_| unknown())?;
        let pool = Pool::new(space, subnet, part).map_err(|_| unknown())?;
        if pool.id() == id && self.file(&pool).exists() {
            return Ok(pool);
        }
        Err(unknown())
    }

    fn file(&self, pool: &Pool) -> PathBuf {
        let name = format!("{}.json", pool.file_name());
        self.folder.join("pools").join(name)
    }

    fn place(&self, pool: &Pool) -> Result<Place, PoolError> {
        let network = pool.leases();
        Ok(Place {
            data_dir: self.folder.join("leases"),
            network: network.ok_or_else(|| PoolError::Unknown(pool.id()))?,
            cooldown: Duration::ZERO,
        })
    }

    /// Whole or not at all, and on the disk before it is answered.
    fn write(&self, pool: &Pool) -> Result<(), Error> {
        let path = self.file(pool);
        let failed = io_at("write pool", &path);
        let text = serde_json::to_vec(pool).map_err(|e| failed(e.into()))?;
        put(&path, &text).map_err(failed)
    }

    fn remove_leases(&self, place: &Place) -> Result<(), Error> {
        let folder = place.folder();
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(io_at("remove lease directory", &folder)(e))
            }
            _ => Ok(()),
        }
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        // It guards files, which a panic leaves whole.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn choose(store: &mut Store<'_>, pool: &Pool, want: &Want) -> Result<Addr, Fault> {
    let addr = match want.address {
        Some(ip) => return take_this(store, pool, (ip, want)),
        None => match pool.first_host() {
            Some(first) if want.gateway && !store.is_taken(first)? => first,
            _ => next(store, pool)?,
        },
    };
    store.publish(&want.owner, &[addr])?;
    Ok(addr)
}

fn take_this(
    store: &mut Store<'_>,
    pool: &Pool,
    (ip, want): (IpAddr, &Want),
) -> Result<Addr, Fault> {
    let refused = |why: String| Error::Requested {
        ip,
        ranges: pool.id(),
        why,
    };
    if !pool.holds(ip) {
        return Err(refused("it is no host's address of that subnet".to_owned()).into());
    }
    let addr = Addr::from(ip);
    if !store.is_taken(addr)? {
        store.publish(&want.owner, &[addr])?;
        return Ok(addr);
    }
    match store.holder_of(addr)? {
        // Asked for again after a crash, or because an answer was lost. Only who has a name can be known again.
        Some(holder) if holder == *want.owner.holder() && !is_nobody(&want.owner) => Ok(addr),
        Some(holder) => Err(refused(format!("it is leased to {holder}")).into()),
        None => Err(refused("it is leased to nobody we could read".to_owned()).into()),
    }
}

/// Container and interface of a lease whose request named nobody.
pub const NOBODY: (&str, &str) = ("docker", "docker");

fn is_nobody(owner: &Owner) -> bool {
    owner.holder().container() == NOBODY.0 && owner.holder().ifname() == Some(NOBODY.1)
}

fn next(store: &mut Store<'_>, pool: &Pool) -> Result<Addr, Fault> {
    let set = pool.set();
    let exhausted = |total| Error::Exhausted {
        set: 0,
        ranges: pool.id(),
        total,
    };
    let set = set.ok_or_else(|| exhausted(0))?;
    let last = store.last_reserved(0);
    match pick(&set, last, store, &|_| false)? {
        Pick::Free(addr) => Ok(addr),
        Pick::OnlyCooling | Pick::Exhausted => Err(exhausted(set.capacity()).into()),
    }
}

/// 40 bits that make this host's IPv6 prefix its own (RFC 4193, section 3.2), drawn once.
fn host_number(folder: &Path) -> Result<u64, Error> {
    let path = folder.join("global-id");
    let failed = io_at("read or write", &path);
    if let Ok(text) = fs::read_to_string(&path)
        && let Ok(number) = u64::from_str_radix(text.trim(), 16)
    {
        return Ok(number);
    }
    let number = RandomState::new().hash_one(std::process::id()) & 0xff_ffff_ffff;
    put(&path, format!("{number:010x}\n").as_bytes()).map_err(failed)?;
    Ok(number)
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}

fn io_at(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::Io {
        action,
        path: path.clone(),
        cause,
    }
}

#[cfg(test)]
mod tests;
