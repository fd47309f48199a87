//! The configuration of host-local: the object `ipam`, capability and CNI arguments.
//! Parsed once by each verb, as far as the verb needs it; afterwards impossible values cannot be written.
//! Must never refuse what the reference takes, except what it would go on to do wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use wharfline_spec::cni::{Args, IpRange, NetConf, Route, Version, address, ip_range_sets};
use wharfline_spec::{BadField, Fields};

use crate::address::Addr;
use crate::error::Error;
use crate::range::{Range, RangeSet};
use crate::store::{DEFAULT_DATA_DIR, Place};

/// All that ADD needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the leases are.
    pub place: Place,
    /// `ranges`: the container gets one address of each set.
    pub sets: Vec<RangeSet>,
    /// Addresses that the container is to have, each once.
    pub requested: BTreeSet<Addr>,
    /// `routes`, for the result.
    pub routes: Vec<Route>,
    /// `resolvConf`: the file that the result's DNS settings come from.
    pub resolv_conf: Option<PathBuf>,
    /// `onDuplicate`.
    pub on_duplicate: OnDuplicate,
}

/// What a second ADD of the same interface of the same container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// An error, as with the reference; but the same address when its lease is of an earlier boot.
    Error,
    /// The same address.
    Reuse,
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, [`Error::Args`] or [`Error::Protocol`] naming the argument.
    pub fn new(conf: &NetConf, args: &Args) -> Result<Config, Error> {
        let ipam = section(conf)?;
        Ok(Config {
            place: place(conf)?,
            sets: sets(conf)?,
            requested: requested(conf, args)?,
            routes: routes(&ipam)?,
            resolv_conf: ipam.text("resolvConf")?.map(PathBuf::from),
            on_duplicate: on_duplicate(&ipam)?,
        })
    }
}

/// Where the leases are: all that DEL and GC need, and can go on with when ranges have become wrong.
///
/// # Errors
/// [`BadField`] naming the key.
pub fn place(conf: &NetConf) -> Result<Place, BadField> {
    let ipam = section(conf)?;
    let data_dir = ipam.text("dataDir")?;
    Ok(Place {
        data_dir: data_dir.map_or_else(|| DEFAULT_DATA_DIR.into(), PathBuf::from),
        network: conf.name.clone(),
        cooldown: Duration::from_secs(ipam.number::<u32>("cooldown")?.unwrap_or(0).into()),
    })
}

/// The range sets: of the capability, then the old flat form, then `ranges`, as the reference orders them.
///
/// # Errors
/// [`BadField`] naming the key.
pub fn sets(conf: &NetConf) -> Result<Vec<RangeSet>, BadField> {
    let ipam = section(conf)?;
    let mut named = Vec::new();
    let capability = "runtimeConfig.ipRanges";
    for (i, ranges) in conf.runtime_config.ip_ranges()?.iter().enumerate() {
        named.push(set(&format!("{capability}[{i}]"), ranges, |j| {
            format!("{capability}[{i}][{j}]")
        })?);
    }
    if let Some(range) = flat_range(&ipam)? {
        named.push(set("ipam", &[range], |_| "ipam".to_owned())?);
    }
    if let Some(value) = ipam.get("ranges") {
        for (i, ranges) in ip_range_sets(value, "ipam.ranges")?.iter().enumerate() {
            named.push(set(&format!("ipam.ranges[{i}]"), ranges, |j| {
                format!("ipam.ranges[{i}][{j}]")
            })?);
        }
    }
    refuse_overlaps(&named)?;
    let sets: Vec<RangeSet> = named.into_iter().map(|(_, set)| set).collect();
    if sets.is_empty() {
        return Err(ipam.bad("ranges", "no IP ranges specified"));
    }
    refuse_what_old_versions_cannot_say(conf, &sets)?;
    Ok(sets)
}

fn section(conf: &NetConf) -> Result<Fields<'_>, BadField> {
    let missing = || BadField::new("ipam", "is missing");
    Fields::of(conf.ipam.as_ref().ok_or_else(missing)?, "ipam")
}

fn set(
    key: &str,
    ranges: &[IpRange],
    key_of: impl Fn(usize) -> String,
) -> Result<(String, RangeSet), BadField> {
    let checked = ranges.iter().enumerate().map(|(i, range)| {
        Range::new(range)
            .map_err(|bad| BadField::new(format!("{}.{}", key_of(i), bad.key), bad.problem))
    });
    let set = RangeSet::new(checked.collect::<Result<_, _>>()?);
    Ok((
        key.to_owned(),
        set.map_err(|problem| BadField::new(key, problem))?,
    ))
}

/// The range of configurations before there were `ranges`. Without a subnet it is no range: the other
/// keys are then checked, and ignored as the reference does.
fn flat_range(ipam: &Fields<'_>) -> Result<Option<IpRange>, BadField> {
    if ipam.text("subnet")?.is_some() {
        return IpRange::read(ipam).map(Some);
    }
    for key in ["rangeStart", "rangeEnd", "gateway"] {
        ipam.parsed::<std::net::IpAddr>(key)?;
    }
    Ok(None)
}

fn refuse_overlaps(named: &[(String, RangeSet)]) -> Result<(), BadField> {
    for (i, (key, set)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..i].iter().find(|(_, earlier)| earlier.overlaps(set)) {
            return Err(BadField::new(key, format!("{set} overlaps with {other}")));
        }
    }
    Ok(())
}

/// Results before 0.3.0 have one place for each family (CNI SPEC 0.2.0, "Result").
fn refuse_what_old_versions_cannot_say(conf: &NetConf, sets: &[RangeSet]) -> Result<(), BadField> {
    let v4 = sets.iter().filter(|set| set.is_ipv4()).count();
    if conf.cni_version < Version::V0_3_0 && (v4 > 1 || sets.len() - v4 > 1) {
        let version = conf.cni_version;
        let problem =
            format!("CNI version {version} has no place for more than one address of a family");
        return Err(BadField::new("ipam.ranges", problem));
    }
    Ok(())
}

fn routes(ipam: &Fields<'_>) -> Result<Vec<Route>, BadField> {
    ipam.list("routes")?
        .into_iter()
        .map(|(at, item)| Route::read(&Fields::of(item, at)?))
        .collect()
}

fn on_duplicate(ipam: &Fields<'_>) -> Result<OnDuplicate, BadField> {
    match ipam.str("onDuplicate")? {
        None | Some("" | "error") => Ok(OnDuplicate::Error),
        Some("reuse") => Ok(OnDuplicate::Reuse),
        Some(other) => Err(ipam.bad(
            "onDuplicate",
            format!("{other:?} is neither \"error\" nor \"reuse\""),
        )),
    }
}

/// The addresses asked for in `CNI_ARGS` (`IP`), `args.cni.ips` and the capability `ips`. They add up.
fn requested(conf: &NetConf, args: &Args) -> Result<BTreeSet<Addr>, Error> {
    let mut requested = BTreeSet::new();
    // MAC is the interface plugin's, which hands its arguments on to us.
    args.permit_only(&["IP", "MAC"])?;
    if let Some(text) = args.get("IP").filter(|text| !text.is_empty()) {
        let bad = || Error::Args {
            key: "IP".to_owned(),
            value: text.to_owned(),
            problem: NOT_IP.to_owned(),
        };
        requested.insert(host_address(text).ok_or_else(bad)?);
    }
    let conventional = match conf.cni_args()? {
        Some(cni) => cni.strings("ips")?,
        None => Vec::new(),
    };
    let capability = conf.runtime_config.ips()?;
    for (key, texts) in [
        ("args.cni.ips", conventional),
        ("runtimeConfig.ips", capability),
    ] {
        for (i, text) in texts.iter().enumerate() {
            let bad = || BadField::new(format!("{key}[{i}]"), format!("{text:?} {NOT_IP}"));
            requested.insert(host_address(text).ok_or_else(bad)?);
        }
    }
    Ok(requested)
}

const NOT_IP: &str = "is neither an IP address nor address/prefix";

/// An address with or without a prefix length, which does not matter here.
fn host_address(text: &str) -> Option<Addr> {
    let ip = if text.contains('/') {
        address(text)?.ip()
    } else {
        text.parse().ok()?
    };
    Some(Addr::from(ip))
}

#[cfg(test)]
mod tests;
