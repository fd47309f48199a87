//! What stays on a host after its last container, and taking it away: the documented list of docs/uninstall.md.
//! The plugins' `uninstall` command calls it; `wharf uninstall` calls that.
//! It must never take what a container still uses, nor what we did not make.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use wharfline_kernel::link::{Link, LinkKey};
use wharfline_kernel::nft::{Standing, Table};
use wharfline_kernel::sysctl;
use wharfline_spec::names::IfName;

use crate::attachment::bridge_mac;
use crate::error::{Error, ErrorKind, Result};
use crate::former;
use crate::outcome::or_absent;
use crate::plan::NsRef;
use crate::record::Record;
use crate::session::Session;
use crate::tables;

/// One thing of ours that is left on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// A bridge, or a link between bridges.
    Link(IfName),
    /// One of our nftables tables.
    Table(Table),
    /// Our rule in the forward chain of another firewall.
    ForwardRule(String),
    /// A kernel parameter that still has the value that we gave it.
    Sysctl {
        /// Path below /proc/sys.
        key: String,
        /// The value to put back.
        before: String,
    },
    /// Our run-time state.
    State(PathBuf),
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => write!(f, "link {name}"),
            Self::Table(table) => write!(f, "nftables table {table}"),
            Self::ForwardRule(chain) => write!(f, "accept rule in chain {chain}"),
            Self::Sysctl { key, before } => write!(f, "sysctl {key}, back to {before}"),
            Self::State(path) => write!(f, "state in {}", path.display()),
        }
    }
}

/// What an uninstall would take away, in the order in which it would.
///
/// Errors: [`ErrorKind::Conflict`] while attachments are recorded; their runtimes must delete them first.
pub fn traces(session: &Session) -> Result<Vec<Trace>> {
    refuse_attachments(session)?;
    let mut traces = Vec::new();
    let accepting = session.with_nft(|nft| nft.accepting())?;
    traces.extend(
        accepting
            .iter()
            .map(|chain| Trace::ForwardRule(chain.to_string())),
    );
    for table in tables::known(session)? {
        if session.with_nft(|nft| nft.verify(&table))? != Standing::Absent {
            traces.push(Trace::Table(table));
        }
    }
    let links = session.host().links()?;
    traces.extend(
        links
            .iter()
            .filter(|link| made_by_us(link, &links))
            .filter_map(|link| IfName::new(&link.name).ok().map(Trace::Link)),
    );
    traces.extend(changed_parameters(session)?);
    if session.state().root().exists() {
        traces.push(Trace::State(session.state().root().to_owned()));
    }
    Ok(traces)
}

/// Takes one away; what is gone already counts as taken.
pub fn take_away(session: &Session, trace: &Trace) -> Result<()> {
    match trace {
        Trace::Link(name) => {
            session.forget(NsRef::Host, name);
            or_absent(session.host().delete_link(LinkKey::Name(name)))
        }
        Trace::Table(table) => session.with_nft(|nft| nft.remove(table)),
        Trace::ForwardRule(_) => session.with_nft(|nft| nft.withdraw()),
        Trace::Sysctl { key, before } => Ok(sysctl::ensure_if_known(key, before).map(drop)?),
        Trace::State(path) => match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()), e))
            }
            _ => Ok(()),
        },
    }
}

fn refuse_attachments(session: &Session) -> Result<()> {
    let records = Record::all(session.state())?;
    let Some(first) = records.first() else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "{} attachments are still there, the first is {}: delete them by their runtime, or collect them by wharf gc",
            records.len(),
            first.key()
        ),
    ))
}

/// A bridge of ours has the MAC that its name implies, from birth. One that carries somebody else's port stays.
fn made_by_us(link: &Link, all: &[Link]) -> bool {
    let Ok(name) = IfName::new(&link.name) else {
        return false;
    };
    let has_foreign_port = all
        .iter()
        .any(|other| other.controller == Some(link.index) && !made_by_us(other, &[]));
    link.mac == Some(bridge_mac(&name)) && !has_foreign_port
}

fn changed_parameters(session: &Session) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for (key, former) in former::all(session)? {
        if session.read_sysctl(NsRef::Host, &key)?.as_deref() == Some(former.ours.as_str()) {
            traces.push(Trace::Sysctl {
                key,
                before: former.before,
            });
        }
    }
    Ok(traces)
}
