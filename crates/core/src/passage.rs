//! Other firewalls' forward chains that drop, and the way through them for what we forward.
//! The operation `LetThrough` is done here; drivers ask before they call a network ready.
//! It must never change more of another's chain than the one rule that nftables lets us put there.

use wharfline_kernel::legacy_filter::{self, DroppingChain};
use wharfline_kernel::nft::{Element, Search};
use wharfline_spec::names::IfName;

use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;

/// Sees to it that what goes over `links` passes: the rule in the other firewall matches a mark, [`elements`] in our table
/// set it. Returns whether they are needed and not known to be there. With iptables-legacy the rule is the
/// administrator's to put; he is told once for each link.
pub(crate) fn let_through(session: &Session, links: &[IfName], thorough: bool) -> Result<bool> {
    let search = if thorough { Search::All } else { Search::Known };
    let dropping = session.with_nft(|nft| nft.let_through(search))?;
    let elements = elements(links);
    // Whoever made the links known has looked at iptables-legacy, and warned; that they are known is all that it takes.
    if session.with_nft(|nft| Ok(nft.stands(&elements)))? {
        return Ok(false);
    }
    let legacy = legacy_filter::dropping().unwrap_or_else(|failure| {
        tracing::warn!("{failure}");
        Vec::new()
    });
    if dropping.is_empty() && legacy.is_empty() {
        return Ok(false);
    }
    if !legacy.is_empty() && !session.with_nft(|nft| nft.missing(&elements))?.is_empty() {
        closed(&legacy).for_each(|chain| tracing::warn!("{chain}"));
    }
    Ok(true)
}

/// What makes links known to our table.
pub(crate) fn elements(links: &[IfName]) -> Vec<Element> {
    let known = |link: &IfName| Element::Link {
        ifname: link.to_string(),
    };
    links.iter().map(known).collect()
}

/// Whether what we forward passes where we cannot see to it ourselves; for a driver's `require`.
///
/// # Errors
/// [`ErrorKind::LimitedConnectivity`], with the command that mends it.
pub fn require_passage() -> Result<()> {
    let legacy = legacy_filter::dropping()?;
    let told: Vec<String> = closed(&legacy).map(ToString::to_string).collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::LimitedConnectivity, told.join("; ")))
}

fn closed(legacy: &[DroppingChain]) -> impl Iterator<Item = &DroppingChain> {
    legacy.iter().filter(|chain| !chain.lets_us_through())
}
