//! Which snapshots stay, and what nothing needs any more goes.
//! `wharf volume forget` ends here; rustic_core decides by restic's rules and prunes in two steps.
//! It must never remove what another writer may be about to use: packs go a day after they were marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustic_core::jiff::{Span, Zoned};
use rustic_core::repofile::{SnapshotFile, SnapshotId};
use rustic_core::{KeepOptions, PruneOptions};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::snapshots::{Filter, Snapshot};

/// What is kept, with restic's meaning of each: so many of the last, and the last one of so many hours, days, and so on
/// that have one. -1 keeps all.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `--keep-last`
    pub last: Option<i32>,
    /// `--keep-hourly`
    pub hourly: Option<i32>,
    /// `--keep-daily`
    pub daily: Option<i32>,
    /// `--keep-weekly`
    pub weekly: Option<i32>,
    /// `--keep-monthly`
    pub monthly: Option<i32>,
    /// `--keep-yearly`
    pub yearly: Option<i32>,
    /// `--keep-within`: as `1y5m7d2h`, counted from the latest.
    pub within: Option<String>,
    /// `--keep-tag`: with one of these.
    pub tags: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    /// Snapshots that stay.
    pub kept: Vec<Snapshot>,
    /// Snapshots that are gone.
    pub removed: Vec<Snapshot>,
    /// Bytes that were freed in the repository.
    pub freed: u64,
    /// Bytes that nothing needs, and that a prune after a day frees.
    pub marked: u64,
}

impl Policy {
    fn options(&self) -> Result<KeepOptions> {
        let mut options = KeepOptions::default()
            .keep_last(self.last)
            .keep_hourly(self.hourly)
            .keep_daily(self.daily)
            .keep_weekly(self.weekly)
            .keep_monthly(self.monthly)
            .keep_yearly(self.yearly)
            .keep_within(self.within.as_deref().map(span).transpose()?);
        let tags = self.tags.iter().map(|tag| tag.parse());
        options.keep_tags = tags
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| refused("a tag that can't be"))?;
        let counts = [
            self.last,
            self.hourly,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        if counts.iter().flatten().any(|count| *count < -1) {
            return Err(refused("a number is -1 for all, or 0 and more"));
        }
        match self.tags.is_empty()
            && self.within.is_none()
            && counts
                .iter()
                .all(|count| count.is_none_or(|count| count == 0))
        {
            true => Err(refused(
                "it keeps nothing; say what stays, as --keep-daily 7",
            )),
            false => Ok(options),
        }
    }
}

/// restic's durations: years, months, days and hours, each a number and its letter.
fn span(text: &str) -> Result<Span> {
    let wrong = || refused("a duration is written 1y5m7d2h");
    let (mut span, mut number) = (Span::new(), String::new());
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let count: i64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        let next = match character {
            'y' => span.try_years(count),
            'm' => span.try_months(count),
            'd' => span.try_days(count),
            'h' => span.try_hours(count),
            _ => return Err(wrong()),
        };
        span = next.map_err(|_| wrong())?;
    }
    match number.is_empty() && !text.is_empty() {
        true => Ok(span),
        false => Err(wrong()),
    }
}

fn refused(problem: &str) -> Error {
    Error::Policy {
        problem: problem.to_owned(),
    }
}

impl Repository {
    /// Removes the snapshots that the policy does not keep, for each host and path by itself, and what only they needed.
    ///
    /// # Errors
    ///
    /// The policy keeps nothing; the repository can't be written, or is locked. Snapshots that stay are whole in any case.
    pub fn forget(
        &self,
        policy: &Policy,
        filter: &Filter,
        progress: &Arc<dyn Progress>,
    ) -> Result<Forgotten> {
        let options = policy.options()?;
        let mut lock = self.lock()?;
        let mut groups: BTreeMap<_, Vec<SnapshotFile>> = BTreeMap::new();
        for snapshot in self.snapshots(filter)? {
            groups
                .entry((snapshot.host.clone(), snapshot.paths.clone()))
                .or_default()
                .push(snapshot.file);
        }
        let now = Zoned::now();
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (_, group) in groups {
            let decided = options.apply(group, &now).map_err(Error::rustic(
                "choose among the snapshots of",
                &self.location(),
            ))?;
            for one in decided {
                let side = if one.keep { &mut kept } else { &mut removed };
                side.push(Snapshot::of(one.snapshot));
            }
        }
        let ids: Vec<SnapshotId> = removed
            .iter()
            .map(|snapshot: &Snapshot| snapshot.file.id)
            .collect();
        if !ids.is_empty() {
            self.opened()
                .delete_snapshots(&ids)
                .map_err(Error::rustic("remove snapshots of", &self.location()))?;
        }
        let (freed, marked) = self.prune(progress)?;
        self.store().sweep()?;
        lock.remove_dead()?;
        Ok(Forgotten {
            kept,
            removed,
            freed,
            marked,
        })
    }

    /// Marks what nothing needs, and removes what was marked a day ago: a writer that still counts on it marks it used.
    fn prune(&self, progress: &Arc<dyn Progress>) -> Result<(u64, u64)> {
        let location = self.location();
        let failed = || Error::rustic("prune", &location);
        let opened = self.telling(Arc::clone(progress))?;
        let options = PruneOptions::default();
        let plan = opened.prune_plan(&options).map_err(failed())?;
        let freed = plan.stats.size_to_delete.remove;
        let size = plan.stats.size_sum();
        let marked =
            plan.stats.size_to_delete.keep + size.remove + size.repackrm + plan.stats.size_unref;
        opened.prune(&options, plan).map_err(failed())?;
        Ok((freed, marked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_restics() {
        assert_eq!(span("1y5m7d2h").unwrap().to_string(), "P1Y5M7DT2H");
        for wrong in ["", "7", "d", "7x", "7d3"] {
            assert!(span(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        assert!(Policy::default().options().is_err());
        assert!(
            Policy {
                daily: Some(0),
                ..Policy::default()
            }
            .options()
            .is_err()
        );
        assert!(
            Policy {
                daily: Some(-1),
                ..Policy::default()
            }
            .options()
            .is_ok()
        );
    }
}
