//! What `wharf volume ls`, `inspect` and `prune` are told.
//! `operate` calls it.
//! It must never wait for one volume longer than its deadline, nor let all of them wait one after the other.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use wharfline_spec::docker::volume::{
    Described, Descriptions, ListAsked, Prune, Pruned, Snapshot, Usage,
};

use crate::driver::{Volumes, delete_soon};
use crate::error::{Error, Result};
use crate::options::without_secrets;
use crate::record::{self, SnapshotRecord};
use crate::root::names_in;
use crate::volume::{About, Volume};

/// Volumes whose use is asked for at once.
const AT_ONCE: usize = 8;

pub(super) fn list(volumes: &Volumes, asked: &ListAsked) -> Result<Descriptions> {
    let wanted = match &asked.name {
        Some(name) => vec![volumes.find(name)?],
        None => volumes.every(),
    };
    let root = volumes.root().path();
    let mut described = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(AT_ONCE) {
        if asked.usage {
            described.extend(with_usage(some, root));
        } else {
            described.extend(some.iter().map(|volume| describe(volume, None)));
        }
    }
    let arriving = match asked.name {
        Some(_) => Vec::new(),
        None => volumes.arrivals().shown(),
    };
    let volumes = described;
    Ok(Descriptions { volumes, arriving })
}

fn with_usage(some: &[Arc<Volume>], root: &Path) -> Vec<Described> {
    thread::scope(|scope| {
        let one = |volume: &Arc<Volume>| {
            let volume = Arc::clone(volume);
            scope.spawn(move || {
                let usage = usage(&volume.about(), root);
                describe(&volume, usage)
            })
        };
        let asked: Vec<_> = some.iter().map(one).collect();
        // One that panicked told why on stderr.
        asked
            .into_iter()
            .filter_map(|asked| asked.join().ok())
            .collect()
    })
}

/// How full it is; none where nobody can tell.
fn usage(about: &About, root: &Path) -> Option<Usage> {
    match about.backend(root).usage(&about.folder) {
        Ok(usage) => Some(usage),
        Err(e) => {
            tracing::warn!("volume {}: {e}", about.name);
            None
        }
    }
}

fn describe(volume: &Volume, usage: Option<Usage>) -> Described {
    let about = volume.about();
    Described {
        name: about.name.to_string(),
        backend: about.kind.name().to_owned(),
        mountpoint: about.mountpoint(),
        created: about.record.created.clone(),
        options: without_secrets(&about.record.options),
        labels: about.options.labels.clone(),
        used_by: volume.held().ids(),
        snapshots: snapshots(&about.folder),
        usage,
    }
}

/// Oldest first.
pub(super) fn snapshots(folder: &Path) -> Vec<Snapshot> {
    let all = folder.join("snapshots");
    let read = |name: wharfline_spec::VolumeName| {
        let path = all.join(name.as_str()).join("snapshot.json");
        let record: SnapshotRecord = record::read(&path).ok()?;
        Some(Snapshot {
            name: name.to_string(),
            created: record.created,
        })
    };
    let names = names_in(&all).unwrap_or_default();
    let mut found: Vec<_> = names.into_iter().filter_map(read).collect();
    found.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    found
}

pub(super) fn prune(volumes: &Volumes, asked: &Prune) -> Result<Pruned> {
    let filters = asked.filters.iter().map(|text| Filter::parse(text));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let mut pruned = Pruned::default();
    for volume in volumes.every() {
        let about = volume.about();
        if !filters.iter().all(|filter| filter.takes(&about)) {
            continue;
        }
        let unused = volume
            .turn("a prune")
            .and_then(|turn| volumes.is_unused(&volume, &turn));
        match unused {
            Ok(()) => {}
            // Somebody uses it, or removed it meanwhile.
            Err(Error::InUse { .. } | Error::Unknown(_) | Error::Busy { .. }) => continue,
            Err(other) => return Err(other),
        }
        if !asked.dry_run {
            match volumes.remove_volume(about.name.as_str()) {
                Err(Error::InUse { .. }) => continue,
                other => other?,
            }
        }
        pruned.volumes.push(about.name.to_string());
    }
    prune_arrivals(volumes, asked, &filters, &mut pruned)?;
    Ok(pruned)
}

/// What came by halves goes as volumes do, unless it is coming just now.
fn prune_arrivals(
    volumes: &Volumes,
    asked: &Prune,
    filters: &[Filter],
    pruned: &mut Pruned,
) -> Result<()> {
    let arrivals = volumes.arrivals();
    for (name, arrival) in arrivals.every() {
        let mut about = match arrival.about(&name, arrivals.place(&name)) {
            Ok(about) => about,
            Err(e) => {
                tracing::warn!("what has come of volume {name} is left: {e}");
                continue;
            }
        };
        about.record.created = arrival.begun;
        if !filters.iter().all(|filter| filter.takes(&about)) {
            continue;
        }
        let Ok(hold) = arrivals.hold(&name) else {
            continue;
        };
        if !asked.dry_run
            && let Some(trash) = hold.abandon(volumes.root())?
        {
            delete_soon(trash);
        }
        pruned.volumes.push(name.to_string());
    }
    Ok(())
}

enum Filter {
    Label {
        key: String,
        value: Option<String>,
        wanted: bool,
    },
    Backend(String),
    Name(String),
    OlderThan(u64),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::option("filter", format!("{text} is not of the form KEY=VALUE"))
        })?;
        let value = value.to_owned();
        let label = |wanted| {
            let (key, value) = match value.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (value.clone(), None),
            };
            Self::Label { key, value, wanted }
        };
        Ok(match key {
            "label" => label(true),
            "label!" => label(false),
            "backend" | "type" => Self::Backend(value),
            "name" => Self::Name(value),
            "until" => Self::OlderThan(duration(&value)?),
            _ => {
                return Err(Error::option(
                    "filter",
                    format!("there is no filter {key}: label, label!, backend, name, until are"),
                ));
            }
        })
    }

    fn takes(&self, about: &About) -> bool {
        match self {
            Self::Label { key, value, wanted } => {
                let found = about.options.labels.get(key);
                let matches =
                    found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found));
                matches == *wanted
            }
            Self::Backend(name) => about.kind.name() == name,
            Self::Name(prefix) => about.name.as_str().starts_with(prefix.as_str()),
            Self::OlderThan(age) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs();
                record::seconds(&about.record.created).is_some_and(|made| made + age <= now)
            }
        }
    }
}

/// `90`, `30s`, `15m`, `24h`, `7d`: seconds.
fn duration(text: &str) -> Result<u64> {
    let refuse = || Error::option("filter", "until is no time such as 24h or 7d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refuse()),
    };
    number.checked_mul(unit).ok_or_else(refuse)
}
