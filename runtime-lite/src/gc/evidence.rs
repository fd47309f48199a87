//! What is known of each attachment on this host: does it live, is it dead, or can't that be proved?
//! `survey` collects the evidence from several sources, `plan` acts on it.
//! It must never let a missing proof count as a proof: between dead and unknown, it is unknown that is kept.

use std::collections::BTreeMap;

use wharfline_cni::client::Attach;
use wharfline_spec::cni::ConfList;
use wharfline_spec::{ContainerId, IfName, NetworkName};

/// What an attachment is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) network: NetworkName,
    pub(super) container: ContainerId,
    pub(super) ifname: IfName,
}

/// What one source says of an attachment, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive(String),
    Dead(String),
    Unknown(String),
}

/// Whose result cache has the attachment: a DEL through that one forgets it there as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CachedBy {
    Wharf,
    Libcni,
}

/// What all sources together say.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) verdict: Verdict,
    /// With what it was attached, where a cache knows.
    pub(super) attach: Attach,
    pub(super) cached: Option<(CachedBy, ConfList)>,
    /// The plugin whose record speaks of it.
    pub(super) recorded_by: Option<String>,
    /// The container is removed as a whole, and this with it.
    pub(super) owned: bool,
}

/// All attachments that any source speaks of.
#[derive(Debug, Default)]
pub(super) struct Attachments(BTreeMap<Key, Evidence>);

impl Attachments {
    /// Adds what one source says: life outweighs everything, and a proof of death outweighs ignorance.
    pub(super) fn add(&mut self, key: Key, verdict: Verdict) -> &mut Evidence {
        let attach = Attach::new(key.container.clone(), None, key.ifname.clone());
        let evidence = self.0.entry(key).or_insert_with(|| Evidence {
            verdict: verdict.clone(),
            attach,
            cached: None,
            recorded_by: None,
            owned: false,
        });
        let outweighs = match (&verdict, &evidence.verdict) {
            (Verdict::Alive(_), _) => true,
            (Verdict::Dead(_), Verdict::Unknown(_)) => true,
            (Verdict::Dead(_) | Verdict::Unknown(_), _) => false,
        };
        if outweighs {
            evidence.verdict = verdict;
        }
        evidence
    }

    pub(super) fn knows(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Evidence)> {
        self.0.iter()
    }

    pub(super) fn of<'a>(
        &'a self,
        network: &'a NetworkName,
    ) -> impl Iterator<Item = (&'a Key, &'a Evidence)> {
        self.0
            .iter()
            .filter(move |(key, _)| key.network == *network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            network: NetworkName::new("net").expect("a name"),
            container: ContainerId::new("c1").expect("an id"),
            ifname: IfName::new("eth0").expect("a name"),
        }
    }

    fn together(verdicts: &[Verdict]) -> Verdict {
        let mut all = Attachments::default();
        for verdict in verdicts {
            all.add(key(), verdict.clone());
        }
        let (_, evidence) = all.iter().next().expect("one");
        evidence.verdict.clone()
    }

    #[test]
    fn life_outweighs_death_and_death_outweighs_ignorance_in_any_order() {
        let alive = Verdict::Alive("a".into());
        let dead = Verdict::Dead("d".into());
        let unknown = Verdict::Unknown("u".into());
        for order in [
            [&alive, &dead],
            [&dead, &alive],
            [&unknown, &alive],
            [&alive, &unknown],
        ] {
            assert_eq!(together(&order.map(Clone::clone)), alive);
        }
        for order in [[&dead, &unknown], [&unknown, &dead]] {
            assert_eq!(together(&order.map(Clone::clone)), dead);
        }
    }
}
