//! The verbs of host-local: what ADD, DEL, CHECK, GC and STATUS do with the leases of a network.
//! Called in process by the bridge plugin and by the `host-local` binary, with one result.
//! Must never leave a lease behind a failed ADD, nor let a broken configuration keep a DEL from releasing.

use std::net::IpAddr;

use wharfline_spec::BadField;
use wharfline_spec::cni::{Args, Attachment, CniResult, Dns, IpConfig, NetConf};

use crate::address::Addr;
use crate::config::{self, Config, OnDuplicate};
use crate::error::{Error, Usage};
use crate::lease::Owner;
use crate::pick::{Pick, pick};
use crate::range::{Range, RangeSet};
use crate::resolv;
use crate::store::{Cooling, Fault, Lease, Place, Site, Store};

/// An address that ADD chose or found again.
#[derive(Debug, Clone, Copy)]
struct Choice {
    set: usize,
    addr: Addr,
    is_held: bool,
}

/// Gives the owner one address of each range set.
///
/// # Errors
/// [`Error`] for a wrong configuration, a taken or exhausted address, and what the file system refuses.
/// Nothing is leased then that was not before.
pub fn add(site: &Site, conf: &NetConf, args: &Args, owner: &Owner) -> Result<CniResult, Error> {
    let config = Config::new(conf, args)?;
    let dns = dns(&config)?;
    let mut store = Store::create(site, &config.place)?;
    store.fence()?;
    let cooling = store.cooling();
    let choices = store.settled(|store| {
        let choices = choose(store, &config, owner, &cooling)?;
        let new = choices
            .iter()
            .filter(|choice| !choice.is_held)
            .map(|choice| choice.addr);
        store.publish(owner, &new.collect::<Vec<_>>())?;
        Ok(choices)
    })?;
    for choice in &choices {
        if choice.is_held {
            store.renew(choice.addr);
        } else {
            store.remember_last(choice.set, choice.addr);
        }
    }
    store.seal();
    let ips = choices
        .iter()
        .filter_map(|c| ip_config(&config.sets[c.set], c.addr))
        .collect();
    Ok(CniResult {
        ips,
        routes: config.routes,
        dns,
        ..CniResult::default()
    })
}

/// Takes the owner's addresses back, of all range sets past and present; none is success.
///
/// # Errors
/// [`Error`] for a wrong `dataDir`, and what the file system refuses.
pub fn del(site: &Site, conf: &NetConf, owner: &Owner) -> Result<(), Error> {
    release(site, &config::place(conf)?, owner).map(|_| ())
}

/// Takes the owner's addresses back and tells which.
///
/// # Errors
/// What the file system refuses.
pub fn release(site: &Site, place: &Place, owner: &Owner) -> Result<Vec<Lease>, Error> {
    let Some(mut store) = Store::open(site, place)? else {
        return Ok(Vec::new());
    };
    let released = store.settled(|store| {
        let leases = leases_of(store, owner)?;
        store.cool(&leases);
        store.withdraw(&leases)?;
        Ok(leases)
    })?;
    store.seal();
    Ok(released)
}

/// Whether the owner has an address of each range set, and those that its result names.
///
/// # Errors
/// [`Error::NotLeased`] naming what is missing.
pub fn check(site: &Site, conf: &NetConf, owner: &Owner) -> Result<(), Error> {
    let (place, sets) = (config::place(conf)?, config::sets(conf)?);
    let fail = |problem| {
        let (owner, network) = (owner.to_string(), place.network.to_string());
        Err(Error::NotLeased {
            owner,
            network,
            problem,
        })
    };
    let Some(mut store) = Store::open(site, &place)? else {
        return fail(format!(
            "there is no lease directory {}",
            place.folder().display()
        ));
    };
    let leases = store.settled(|store| leases_of(store, owner))?;
    store.seal();
    for set in &sets {
        if !leases
            .iter()
            .any(|lease| set.range_for(lease.addr).is_some())
        {
            return fail(format!("it has no address of range set {set}"));
        }
    }
    let named = conf
        .prev_result
        .iter()
        .flat_map(|result| &result.ips)
        .map(|ip| Addr::from(ip.address.ip()));
    for addr in named.filter(|addr| sets.iter().any(|set| set.range_for(*addr).is_some())) {
        if !leases.iter().any(|lease| lease.addr == addr) {
            return fail(format!("{addr} is not leased to it"));
        }
    }
    Ok(())
}

/// GC as a runtime asks for it: the configuration lists the valid attachments.
///
/// # Errors
/// [`Error::Config`] when it has no such list: nothing may be taken for invalid then; and what the file
/// system refuses.
pub fn collect(site: &Site, conf: &NetConf) -> Result<(), Error> {
    if !conf.lists_valid_attachments() {
        return Err(BadField::new("cni.dev/valid-attachments", "is missing").into());
    }
    gc(site, &config::place(conf)?, &conf.valid_attachments).map(|_| ())
}

/// Takes back every address of the network whose holder is not among the valid attachments; what the
/// operator reserved stays. Tells what was freed.
///
/// # Errors
/// What the file system refuses.
pub fn gc(site: &Site, place: &Place, valid: &[Attachment]) -> Result<Vec<Lease>, Error> {
    let Some(mut store) = Store::open(site, place)? else {
        return Ok(Vec::new());
    };
    store.fence()?;
    let hashes = valid
        .iter()
        .flat_map(|a| Owner::hashes(&a.container, &a.ifname));
    let mut valid: Vec<u64> = hashes.collect();
    valid.sort_unstable();
    let freed = store.settled(|store| {
        // A lease whose holder is valid has a hash that is in the list; no other need be read.
        let mut dead = store.select(&|hash| valid.binary_search(&hash).is_err())?;
        dead.retain(|lease| !lease.holder.is_operator());
        store.cool(&dead);
        store.withdraw(&dead)?;
        Ok(dead)
    })?;
    store.seal();
    Ok(freed)
}

/// Whether every range set has an address left to give out now.
///
/// # Errors
/// [`Error::Unavailable`] naming the first exhausted set; [`Error`] for a wrong configuration and for
/// leases that cannot be read.
pub fn status(site: &Site, conf: &NetConf) -> Result<(), Error> {
    let (place, sets) = (config::place(conf)?, config::sets(conf)?);
    let Some(mut store) = Store::open(site, &place)? else {
        return Ok(());
    };
    store.fence()?;
    let cooling = store.cooling();
    let usages = store.settled(|store| {
        sets.iter()
            .map(|set| usage(store, set, &cooling))
            .collect::<Result<Vec<_>, _>>()
    })?;
    store.seal();
    for (index, (set, usage)) in sets.iter().zip(usages).enumerate() {
        if usage.free == 0 {
            let network = place.network.to_string();
            return Err(Error::Unavailable {
                network,
                set: index,
                ranges: set.to_string(),
                usage,
            });
        }
    }
    Ok(())
}

/// How full a range set is. Where there are fewer leases than addresses it is not worth counting: some
/// are free, and at least as many as reported.
fn usage(store: &mut Store<'_>, set: &RangeSet, cooling: &Cooling) -> Result<Usage, Fault> {
    let total = set.capacity();
    let cooling = cooling
        .iter()
        .filter(|addr| set.range_for(*addr).is_some())
        .collect::<Vec<_>>();
    let bound = u128::from(store.len()) + cooling.len() as u128;
    if bound < total {
        return Ok(Usage {
            free: total - bound,
            cooling: cooling.len() as u128,
            total,
        });
    }
    let (mut taken, mut waiting) = (0, 0);
    for range in set.ranges() {
        taken += store.count(range.span())?;
        if range.span().contains(range.gateway()) && store.is_taken(range.gateway())? {
            taken -= 1;
        }
    }
    for addr in cooling {
        waiting += u128::from(!store.is_taken(addr)?);
    }
    Ok(Usage {
        free: total.saturating_sub(taken + waiting),
        cooling: waiting,
        total,
    })
}

fn choose(
    store: &mut Store<'_>,
    config: &Config,
    owner: &Owner,
    cooling: &Cooling,
) -> Result<Vec<Choice>, Fault> {
    let held = held_by(store, owner)?;
    let mut requested = config.requested.clone();
    let mut choices = Vec::with_capacity(config.sets.len());
    for (index, set) in config.sets.iter().enumerate() {
        let wanted = requested
            .iter()
            .copied()
            .find(|addr| set.range_for(*addr).is_some());
        if let Some(addr) = wanted {
            requested.remove(&addr);
        }
        let is_held = held
            .iter()
            .find(|lease| set.range_for(lease.addr).is_some());
        let addr = match (is_held, wanted) {
            (Some(lease), wanted) => again(store, config, (index, lease), wanted)?,
            (None, Some(addr)) => as_requested(store, set, addr)?,
            (None, None) => next(store, (index, set), cooling)?,
        };
        choices.push(Choice {
            set: index,
            addr,
            is_held: is_held.is_some(),
        });
    }
    if !requested.is_empty() {
        let list: Vec<String> = requested.iter().map(Addr::to_string).collect();
        return Err(Error::Unplaced(list.join(" ")).into());
    }
    Ok(choices)
}

/// The address that the owner has already, where it may keep it.
fn again(
    store: &Store<'_>,
    config: &Config,
    (set, lease): (usize, &Lease),
    wanted: Option<Addr>,
) -> Result<Addr, Fault> {
    let is_wanted = wanted.is_none_or(|wanted| wanted == lease.addr);
    let may_keep =
        config.on_duplicate == OnDuplicate::Reuse || store.is_of_earlier_boot(lease.addr);
    if is_wanted && may_keep {
        return Ok(lease.addr);
    }
    Err(Error::Duplicate {
        set,
        ip: lease.addr.ip(),
        holder: lease.holder.to_string(),
    }
    .into())
}

fn as_requested(store: &mut Store<'_>, set: &RangeSet, addr: Addr) -> Result<Addr, Fault> {
    let refused = |why: String| Error::Requested {
        ip: addr.ip(),
        ranges: set.to_string(),
        why,
    };
    if set
        .range_for(addr)
        .is_some_and(|range| range.gateway() == addr)
    {
        return Err(refused("it is the subnet's gateway".to_owned()).into());
    }
    if store.is_taken(addr)? {
        let holder = store.holder_of(addr)?;
        let holder = holder.map_or_else(|| "nobody we could read".to_owned(), |h| h.to_string());
        return Err(refused(format!("it is leased to {holder}")).into());
    }
    Ok(addr)
}

fn next(
    store: &mut Store<'_>,
    (index, set): (usize, &RangeSet),
    cooling: &Cooling,
) -> Result<Addr, Fault> {
    let last = store.last_reserved(index);
    let ranges = || set.to_string();
    match pick(set, last, store, &|addr| cooling.contains(addr))? {
        Pick::Free(addr) => Ok(addr),
        Pick::OnlyCooling => Err(Error::Cooling {
            set: index,
            ranges: ranges(),
        }
        .into()),
        Pick::Exhausted => Err(Error::Exhausted {
            set: index,
            ranges: ranges(),
            total: set.capacity(),
        }
        .into()),
    }
}

/// Leases that a duplicate would clash with: the owner's, and old ones of its container.
fn held_by(store: &mut Store<'_>, owner: &Owner) -> Result<Vec<Lease>, Fault> {
    let mut held = Vec::new();
    for holder in [owner.holder(), owner.old_holder()] {
        held.extend(store.leases_of(holder)?);
    }
    Ok(held)
}

/// The owner's leases; the old ones of its container only where there are none, as with the reference.
fn leases_of(store: &mut Store<'_>, owner: &Owner) -> Result<Vec<Lease>, Fault> {
    for holder in [owner.holder(), owner.old_holder()] {
        let leases = store.leases_of(holder)?;
        if !leases.is_empty() {
            return Ok(leases);
        }
    }
    Ok(Vec::new())
}

fn dns(config: &Config) -> Result<Dns, Error> {
    let Some(path) = &config.resolv_conf else {
        return Ok(Dns::default());
    };
    let read = std::fs::read(path);
    let text = read.map_err(|cause| Error::Io {
        action: "read ipam.resolvConf",
        path: path.clone(),
        cause,
    })?;
    Ok(resolv::parse(&String::from_utf8_lossy(&text)))
}

fn ip_config(set: &RangeSet, addr: Addr) -> Option<IpConfig> {
    let range: &Range = set.range_for(addr)?;
    let gateway: IpAddr = range.gateway().ip();
    Some(IpConfig {
        interface: None,
        address: range.with_prefix(addr),
        gateway: Some(gateway),
    })
}
