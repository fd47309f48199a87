//! GC: what bears this network's name and this plugin's type, minus the valid attachments.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wharfline_kernel::nft::{Element, Tag};
use wharfline_spec::names::NetworkName;

use super::Engine;
use crate::attachment::AttachmentKey;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::lock::{Lock, Mode};
use crate::plan::{NsRef, Target};
use crate::record::{Record, SharedNote};
use crate::remove::remove;
use crate::session::Session;
use crate::tables;

/// Deletions run side by side: the kernel's grace periods overlap (20 at once 74 ms, one after another 433).
const WORKERS: usize = 8;

/// What a GC looks at.
#[derive(Debug, Clone)]
pub struct Sweep<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// Its attachments that stay.
    pub valid: HashSet<AttachmentKey>,
}

impl<D: Driver> Engine<'_, D>
where
    D: Sync,
    D::Config: Sync,
{
    /// Collects what belongs to no valid attachment. Goes on past failures and reports them all.
    pub fn gc(&self, sweep: &Sweep<'_>) -> Result<()> {
        let session = Session::open()?;
        let mut failures = Vec::new();
        failures.extend(tables::heal(&session).err());
        let stale = self.stale_records(&session, sweep)?;
        failures.extend(self.tear_down_all(&stale));
        failures.extend(self.collect_unrecorded(&session, sweep).err());
        failures.extend(self.ipam.gc().err());
        failures.extend(self.remove_free_locks(&session).err());
        if failures.is_empty() {
            failures.extend(self.leave_network(&session, sweep.network).err());
        }
        Error::all(failures).map_or(Ok(()), Err)
    }

    fn stale_records(&self, session: &Session, sweep: &Sweep<'_>) -> Result<Vec<AttachmentKey>> {
        let plugin = self.driver.name();
        let records = Record::of_network(session.state(), plugin, sweep.network)?;
        let unfinished = Record::unfinished(session.state(), plugin, sweep.network)?;
        let stale: HashSet<AttachmentKey> = records
            .iter()
            .map(Record::key)
            .chain(unfinished)
            .filter(|key| !sweep.valid.contains(key))
            .collect();
        Ok(stale.into_iter().collect())
    }

    fn tear_down_all(&self, stale: &[AttachmentKey]) -> Vec<Error> {
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        let failed = |failure| failures.lock().map_or((), |mut all| all.push(failure));
        let driver = self.driver;
        let config = self.config;
        let work = || {
            let session = match Session::open() {
                Ok(session) => session,
                Err(failure) => return failed(failure),
            };
            let engine = Engine::new(driver, config, &crate::ipam::NO_IPAM);
            while let Some(key) = stale.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(failure) = engine.collect_one(&session, key) {
                    failed(failure);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS.min(stale.len()) {
                scope.spawn(work);
            }
        });
        failures.into_inner().unwrap_or_default()
    }

    fn collect_one(&self, session: &Session, key: &AttachmentKey) -> Result<()> {
        let held = self.lock_attachment(session.state(), key)?;
        let torn_down = self.tear_down(session, key);
        held.release()?;
        torn_down
    }

    /// What bears our marks though no record tells of it: /run was lost, or another's hand removed the record.
    fn collect_unrecorded(&self, session: &Session, sweep: &Sweep<'_>) -> Result<()> {
        let mut failures = Vec::new();
        let valid: HashSet<Tag> = sweep.valid.iter().map(AttachmentKey::tag).collect();
        let network = Tag::network(sweep.network.as_str());
        let orphaned = self.shares_nothing(session, sweep)?;
        let stale = tables::marked(session, |element, tag| {
            let of_nobody = match tag.is_shared() {
                true => orphaned && !self.is_shared_elsewhere(session, sweep, element),
                false => self.driver.owns(element) && !valid.contains(tag),
            };
            tag.same_network(&network) && of_nobody
        })?;
        for (element, tag) in stale {
            let done = session.with_nft(|nft| nft.delete(&[element], Some(&tag)));
            failures.extend(done.err());
        }
        for link in self.unrecorded_links(session, sweep)? {
            failures.extend(remove(session, &link, None).err());
        }
        Error::all(failures).map_or(Ok(()), Err)
    }

    /// Whether the network has no attachment left that a record or the runtime knows of.
    fn shares_nothing(&self, session: &Session, sweep: &Sweep<'_>) -> Result<bool> {
        let any = Record::any(session.state(), self.driver.name(), sweep.network)?;
        Ok(sweep.valid.is_empty() && !any)
    }

    /// Whether another plugin's or network's note has the element. One that cannot be read counts as having it.
    fn is_shared_elsewhere(&self, session: &Session, sweep: &Sweep<'_>, element: &Element) -> bool {
        SharedNote::of_others(session.state(), self.driver.name(), sweep.network)
            .map_or(true, |notes| {
                notes.iter().any(|note| note.elements().contains(element))
            })
    }

    /// Locks of attachments that nobody holds: their verbs were killed before they could remove them.
    fn remove_free_locks(&self, session: &Session) -> Result<()> {
        let folder = session.state().lock("");
        let Ok(files) = std::fs::read_dir(&folder) else {
            return Ok(());
        };
        let prefix = format!("{}-", self.driver.name());
        for file in files.filter_map(std::result::Result::ok) {
            if !file.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let path = file.path();
            if let Some(free) = Lock::try_acquire(&path, Mode::Exclusive)? {
                free.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Links whose alias, name and MAC agree that they are of a container that is no more.
    fn unrecorded_links(&self, session: &Session, sweep: &Sweep<'_>) -> Result<Vec<Target>> {
        if !self.driver.makes_link() {
            return Ok(Vec::new());
        }
        let links = session.socket(NsRef::Host)?.links()?;
        Ok(links
            .iter()
            .filter_map(|link| {
                let key = AttachmentKey::from_alias(link.alias.as_deref()?)?;
                let ours = key.network == *sweep.network && link.mac == Some(key.host_mac());
                let name = wharfline_spec::names::IfName::new(&link.name).ok()?;
                (ours && !sweep.valid.contains(&key)).then_some(Target::Link {
                    name,
                    mac: key.host_mac(),
                })
            })
            .collect())
    }
}
