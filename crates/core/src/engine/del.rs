//! DEL: what the record or the marks point at is deleted, then the lease is given back.

use super::{Attach, Engine};
use crate::attachment::AttachmentKey;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::plan::{NsRef, Target};
use crate::record::Record;
use crate::remove::{Owner, remove};
use crate::session::Session;
use crate::tables;

impl<D: Driver> Engine<'_, D> {
    /// Detaches the container. Works without namespace, previous result or record, and a second time.
    ///
    /// Goes on past failures and reports them all; the record stays until nothing failed.
    pub fn del(&self, attach: &Attach<'_>) -> Result<()> {
        let mut session = Session::open()?;
        if let Some(path) = &attach.netns {
            // Gone, closed to us or the host's own: what is on the host goes all the same.
            if let Err(failure) = session.enter(path) {
                tracing::info!("{failure}: nothing is done in it");
            }
        }
        self.detach(&session, &attach.key)
    }

    /// DEL of one attachment on an open session.
    pub(super) fn detach(&self, session: &Session, key: &AttachmentKey) -> Result<()> {
        let held = self.lock_attachment(session.state(), key)?;
        let mut failures = Vec::new();
        failures.extend(tables::heal(session).err());
        failures.extend(self.tear_down(session, key).err());
        // After the link: an address given back earlier could be somebody else's while ours still answers for it.
        failures.extend(self.ipam.release().err());
        if failures.is_empty() {
            failures.extend(self.leave_network(session, &key.network).err());
        }
        failures.extend(held.release().err());
        Error::all(failures).map_or(Ok(()), Err)
    }

    /// Deletes what the attachment consists of, and its record if nothing failed.
    pub(super) fn tear_down(&self, session: &Session, key: &AttachmentKey) -> Result<()> {
        let record = Record::read(session.state(), self.driver.name(), key)?;
        let recorded = record
            .as_ref()
            .map_or(Ok(None), |record| inside(session, record))?;
        let session = recorded.as_ref().unwrap_or(session);
        let targets = self.driver.teardown(self.config, key, record.as_ref());
        let tag = key.tag();
        let owner = Owner {
            tag: &tag,
            owns: &|element| self.driver.owns(element),
        };
        let failures: Vec<Error> = targets
            .iter()
            .filter_map(|target| remove(session, target, Some(owner)).err())
            .collect();
        match Error::all(failures) {
            Some(failure) => Err(failure.within(format!("delete {key}"))),
            // Without a record too: a writer that was killed may have left the beginning of one.
            None => Record::remove(session.state(), self.driver.name(), key),
        }
    }
}

/// A session for what is in the very namespace that the record was written for, where `session` is not in it: the
/// runtime named none, or its path leads to another container's by now. `None`: `session` will do.
fn inside(session: &Session, record: &Record) -> Result<Option<Session>> {
    let is_inside = |target: &Target| matches!(target, Target::SubInterface(link) if link.ns == NsRef::Container);
    if !record.own.iter().any(is_inside) || record.is_of(session.container_id()) {
        return Ok(None);
    }
    let mut recorded = Session::open()?;
    if record.netns_lives() {
        recorded.enter(&record.netns)?;
    }
    Ok(Some(recorded))
}
