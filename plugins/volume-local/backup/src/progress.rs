//! How far an operation is, for whoever waits for it.
//! Every long operation tells it; the worker makes JSON lines of it, and rustic_core's own bars are fed from it.
//! It must never decide anything.

use std::fmt;
use std::sync::Arc;

use rustic_core::{Progress as Bar, ProgressBars, ProgressType, RusticProgress};

/// Told about every step, from several threads, so it has to be quick.
pub trait Progress: fmt::Debug + Send + Sync + 'static {
    /// What there is to do in all. May be told late, and again with other figures.
    fn total(&self, bytes: u64, files: u64);
    /// What was done since the last call.
    fn advance(&self, bytes: u64, files: u64);
    /// Whether totals are worth a walk over the tree.
    fn wants_totals(&self) -> bool {
        true
    }
}

/// Nobody waits.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn total(&self, _bytes: u64, _files: u64) {}
    fn advance(&self, _bytes: u64, _files: u64) {}
    fn wants_totals(&self) -> bool {
        false
    }
}

/// rustic_core's bars: only those that count bytes move ours.
#[derive(Debug)]
pub(crate) struct Bars(pub(crate) Arc<dyn Progress>);

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _prefix: &str) -> Bar {
        match kind {
            ProgressType::Bytes => Bar::new(Counted(Arc::clone(&self.0))),
            ProgressType::Spinner | ProgressType::Counter => Bar::hidden(),
        }
    }
}

#[derive(Debug)]
struct Counted(Arc<dyn Progress>);

impl RusticProgress for Counted {
    fn is_hidden(&self) -> bool {
        !self.0.wants_totals()
    }
    fn set_length(&self, _length: u64) {}
    fn set_title(&self, _title: &str) {}
    fn inc(&self, bytes: u64) {
        self.0.advance(bytes, 0);
    }
    fn finish(&self) {}
}
