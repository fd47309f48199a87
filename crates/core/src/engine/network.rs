//! What a network's attachments share: noted when the first comes, removed when the last goes.

use wharfline_spec::names::NetworkName;

use super::Engine;
use crate::attachment::AttachmentKey;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::lock::{Lock, Mode};
use crate::plan::{NsRef, Op, Plan, Target};
use crate::record::{Record, SharedNote};
use crate::remove::remove;
use crate::session::Session;
use crate::state::HostState;
use crate::transaction::Transaction;

impl<D: Driver> Engine<'_, D> {
    /// Makes what a network has before its first attachment; what `targets` names goes again if that fails.
    pub fn found(&self, key: &AttachmentKey, ops: &[Op], targets: &[Target]) -> Result<()> {
        let session = Session::open()?;
        let _held = self.hold_network(&session, &key.network)?;
        self.note_founded(&session, &key.network, targets)?;
        let mut transaction = Transaction::new(&session, key);
        for op in ops {
            if let Err(failure) = transaction.run(NsRef::Host, op) {
                let mut failure = transaction.unwind(failure);
                let forgotten = self.note_founded(&session, &key.network, &[]);
                let removed = self.remove_unshared(&session, &key.network, targets);
                for left in removed.into_iter().chain(forgotten.err()) {
                    failure.add_failed_undo(left.within("undo"));
                }
                return Err(failure);
            }
        }
        transaction.commit();
        Ok(())
    }

    /// Takes away a network that has no attachment: what they shared, and what `targets` names.
    pub fn dissolve(&self, network: &NetworkName, targets: &[Target]) -> Result<()> {
        let session = Session::open()?;
        let forgotten = self.note_founded(&session, network, &[]);
        let left = forgotten.and_then(|()| self.leave_network(&session, network));
        let mut failures: Vec<Error> = left.err().into_iter().collect();
        failures.extend(self.remove_unshared(&session, network, targets));
        Error::all(failures).map_or(Ok(()), Err)
    }

    /// Notes what the network has for as long as it is there, so that nobody else's last attachment takes it along.
    fn note_founded(
        &self,
        session: &Session,
        network: &NetworkName,
        targets: &[Target],
    ) -> Result<()> {
        let state = session.state();
        let plugin = self.driver.name();
        let _alone = Lock::acquire(&state.lock("shared"), Mode::Exclusive)?;
        let mut note = SharedNote::read(state, plugin, network)?;
        note.founded = targets.to_vec();
        match note == SharedNote::default() {
            true => SharedNote::remove(state, plugin, network),
            false => note.write(state, plugin, network),
        }
    }

    /// Removes what no other network relies on: one of CNI's may be on the same bridge.
    fn remove_unshared(
        &self,
        session: &Session,
        network: &NetworkName,
        targets: &[Target],
    ) -> Vec<Error> {
        let others = match SharedNote::of_others(session.state(), self.driver.name(), network) {
            Ok(others) => others,
            Err(failure) => return vec![failure],
        };
        let mut targets = targets.to_vec();
        targets.retain_mut(|target| !is_shared_by(target, &others));
        let removed = targets.iter().map(|target| remove(session, target, None));
        removed.filter_map(Result::err).collect()
    }

    /// Keeps the network from being removed while an attachment joins it.
    pub(super) fn hold_network(&self, session: &Session, network: &NetworkName) -> Result<Lock> {
        Lock::acquire(&self.network_lock(session.state(), network), Mode::Shared)
    }

    /// Notes what the plan shares; whether that was news. The network must be held.
    pub(super) fn note_shared(
        &self,
        session: &Session,
        network: &NetworkName,
        plan: &Plan,
    ) -> Result<bool> {
        let state = session.state();
        let plugin = self.driver.name();
        if !SharedNote::read(state, plugin, network)?.include(&plan.shared) {
            return Ok(false);
        }
        // Rare: the network's first attachment, or the first of another subnet.
        let _alone = Lock::acquire(&state.lock("shared"), Mode::Exclusive)?;
        let mut note = SharedNote::read(state, plugin, network)?;
        note.include(&plan.shared);
        note.write(state, plugin, network)?;
        Ok(true)
    }

    /// Removes what the network shared, if this was its last attachment. If one is just joining, it stays.
    pub(super) fn leave_network(&self, session: &Session, network: &NetworkName) -> Result<()> {
        let state = session.state();
        let plugin = self.driver.name();
        if Record::any(state, plugin, network)? {
            return Ok(());
        }
        let path = self.network_lock(state, network);
        let Some(alone) = Lock::try_acquire(&path, Mode::Exclusive)? else {
            return Ok(());
        };
        if Record::any(state, plugin, network)? {
            return Ok(());
        }
        let _notes = Lock::acquire(&state.lock("shared"), Mode::Exclusive)?;
        let note = SharedNote::read(state, plugin, network)?;
        let mut targets = note.targets;
        targets.retain(|target| !note.founded.contains(target));
        let others = SharedNote::of_others(state, plugin, network)?;
        targets.retain_mut(|target| !is_shared_by(target, &others));
        let failures: Vec<Error> = targets
            .iter()
            .filter_map(|target| remove(session, target, None).err())
            .collect();
        if let Some(failure) = Error::all(failures) {
            return Err(failure.within(format!("remove what network {network} shared")));
        }
        if !note.founded.is_empty() {
            let note = SharedNote {
                founded: note.founded,
                ..SharedNote::default()
            };
            return note.write(state, plugin, network);
        }
        SharedNote::remove(state, plugin, network)?;
        alone.remove(&path)
    }

    fn network_lock(&self, state: &HostState, network: &NetworkName) -> std::path::PathBuf {
        state.lock(&format!("network-{}-{network}", self.driver.name()))
    }
}

/// Whether others go on sharing the target. Two networks, or two plugins of one chain, may have shared one element:
/// those that others need are taken out of the target.
fn is_shared_by(target: &mut Target, others: &[SharedNote]) -> bool {
    match target {
        Target::Elements { elements } => {
            elements.retain(|element| !others.iter().any(|note| note.elements().contains(element)));
            elements.is_empty()
        }
        other => others.iter().any(|note| note.has(other)),
    }
}
