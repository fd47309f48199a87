//! Operations done in order, each with its undo in hand before the next begins.
//! The engine's ADD runs its plan through one.
//! Dropping one that was not committed must always take everything back.

use crate::attachment::AttachmentKey;
use crate::error::{Error, Result};
use crate::perform::perform;
use crate::plan::{NsRef, Op};
use crate::session::Session;
use crate::undo::Undo;

/// A list of done operations that is kept whole or taken back.
#[must_use = "an uncommitted transaction takes everything back"]
pub(crate) struct Transaction<'s> {
    session: &'s Session,
    key: AttachmentKey,
    done: Vec<Undo>,
}

impl<'s> Transaction<'s> {
    /// An empty transaction for the attachment `key`.
    pub(crate) fn new(session: &'s Session, key: &AttachmentKey) -> Self {
        Self {
            session,
            key: key.clone(),
            done: Vec::new(),
        }
    }

    /// Does one operation.
    pub(crate) fn run(&mut self, ns: NsRef, op: &Op) -> Result<()> {
        tracing::debug!(?ns, ?op, "perform");
        let undo = perform(self.session, &self.key, ns, op)?;
        if undo != Undo::Nothing {
            self.done.push(undo);
        }
        Ok(())
    }

    /// Keeps everything.
    pub(crate) fn commit(mut self) {
        self.done.clear();
    }

    /// Takes everything back, last first; the undos that failed are noted on `failure`.
    pub(crate) fn unwind(mut self, mut failure: Error) -> Error {
        for undo_failure in self.take_back() {
            failure.add_failed_undo(undo_failure);
        }
        failure
    }

    fn take_back(&mut self) -> Vec<Error> {
        let mut failures = Vec::new();
        while let Some(undo) = self.done.pop() {
            if let Err(failure) = undo.run(self.session) {
                failures.push(failure.within("undo"));
            }
        }
        failures
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        for failure in self.take_back() {
            tracing::warn!("{failure}");
        }
    }
}
