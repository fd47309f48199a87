//! What the work's process does with a backup repository, by the crate wharfline-backup.
//! `child` calls it for [`super::Job::Repository`].
//! It must never tell a secret: they are read from a file of the asking process, and go nowhere.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wharfline_backup::{
    Access, Address, Filter, Keys, Password, Policy, Progress as Heard, Repository as Open, Subject,
};
use wharfline_kernel::fs::{beneath, freeze};
use wharfline_spec::docker::volume::{Event, Progress, Repository, RepositorySecrets};

use super::child::{TELL_EVERY, tell};
use crate::error::{Error, Result};

/// What is to be done with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Backs up a folder under a volume's name.
    Backup {
        from: PathBuf,
        name: String,
        tags: Vec<String>,
        init: bool,
    },
    /// Fills an empty folder.
    Restore {
        to: PathBuf,
        at: String,
        of: Option<String>,
    },
    /// Reads and checks everything.
    Verify,
    /// Lists the backups.
    List { of: Option<String> },
    /// Removes what the policy does not keep.
    Forget {
        of: Option<String>,
        keep: BTreeMap<String, i32>,
        within: Option<String>,
        tags: Vec<String>,
    },
}

pub(super) fn perform(repository: &Repository, task: Task) -> Result<Value> {
    let access = access(repository)?;
    let told: Arc<dyn Heard> = Arc::new(Telling::default());
    // The repository is opened by what takes a while: whoever waits hears of it.
    tell(&Event::Progress(Progress::default()));
    let done = match task {
        Task::Backup {
            from,
            name,
            tags,
            init,
        } => back_up(
            &access,
            init,
            Subject {
                root: folder(&from)?,
                name,
                host: None,
                tags,
            },
            &told,
        ),
        Task::Restore { to, at, of } => restore(&access, &to, &at, of, &told),
        Task::Verify => Open::open(&access).and_then(|open| Ok(json!(open.verify(&told)?))),
        Task::List { of } => {
            Open::open(&access).and_then(|open| Ok(json!(open.snapshots(&of_volume(of))?)))
        }
        Task::Forget {
            of,
            keep,
            within,
            tags,
        } => {
            let policy = policy(&keep, within, tags)?;
            Open::open(&access)
                .and_then(|open| Ok(json!(open.forget(&policy, &of_volume(of), &told)?)))
        }
    };
    done.map_err(|error| Error::Work(error.chain()))
}

fn back_up(
    access: &Access,
    init: bool,
    subject: Subject,
    told: &Arc<dyn Heard>,
) -> wharfline_backup::Result<Value> {
    let open = match Open::open(access) {
        Err(wharfline_backup::Error::NoRepository { .. }) if init => Open::init(access),
        open => open,
    };
    Ok(json!(open?.backup(subject, told)?))
}

fn restore(
    access: &Access,
    to: &Path,
    at: &str,
    of: Option<String>,
    told: &Arc<dyn Heard>,
) -> wharfline_backup::Result<Value> {
    let open = Open::open(access)?;
    let snapshot = open.snapshot(at, &of_volume(of))?;
    let failed = |problem: String| wharfline_backup::Error::Target {
        path: to.to_owned(),
        problem,
    };
    let into = beneath::folder(to).map_err(|cause| failed(cause.to_string()))?;
    let again = into
        .try_clone()
        .map_err(|cause| failed(cause.to_string()))?;
    let restored = open.restore(&snapshot, into, told)?;
    freeze::sync(&File::from(again)).map_err(|cause| failed(cause.to_string()))?;
    Ok(json!({"snapshot": snapshot, "restored": restored}))
}

fn folder(path: &Path) -> Result<OwnedFd> {
    Ok(beneath::folder(path)?)
}

fn of_volume(volume: Option<String>) -> Filter {
    Filter {
        volume,
        ..Filter::default()
    }
}

fn access(repository: &Repository) -> Result<Access> {
    let address: Address = repository
        .address
        .parse()
        .map_err(|error: wharfline_backup::Error| Error::Work(error.chain()))?;
    let unread = "the repository's secrets can't be read".to_owned();
    let text =
        fs::read(&repository.secrets).map_err(|cause| Error::Work(format!("{unread}: {cause}")))?;
    // serde's own message might quote a part.
    let secrets: RepositorySecrets =
        serde_json::from_slice(&text).map_err(|_| Error::Work(unread))?;
    let password = Password::new(&secrets.password).map_err(|error| Error::Work(error.chain()))?;
    let keys = Keys::from_variables(|name| secrets.variables.get(name).cloned());
    let keys = keys.map(|keys| keys.with_authorities(secrets.authorities));
    Ok(Access {
        address,
        password,
        keys,
    })
}

fn policy(
    keep: &BTreeMap<String, i32>,
    within: Option<String>,
    tags: Vec<String>,
) -> Result<Policy> {
    let mut policy = Policy {
        within,
        tags,
        ..Policy::default()
    };
    for (period, count) in keep {
        let kept = match period.as_str() {
            "last" => &mut policy.last,
            "hourly" => &mut policy.hourly,
            "daily" => &mut policy.daily,
            "weekly" => &mut policy.weekly,
            "monthly" => &mut policy.monthly,
            "yearly" => &mut policy.yearly,
            other => return Err(Error::Work(format!("nothing is kept {other}"))),
        };
        *kept = Some(*count);
    }
    Ok(policy)
}

/// Tells of progress now and then.
#[derive(Debug, Default)]
struct Telling(Mutex<(Progress, Option<Instant>)>);

impl Heard for Telling {
    fn total(&self, bytes: u64, _files: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .total = Some(bytes);
    }

    fn advance(&self, bytes: u64, _files: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.done += bytes;
        if state.1.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            tell(&Event::Progress(state.0));
            state.1 = Some(Instant::now());
        }
    }
}
