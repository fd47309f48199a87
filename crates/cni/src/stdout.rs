//! The one place that writes to stdout: a whole document at once, and at most one per process.
//! Called by `boundary.rs` with the answer, and by `panics.rs` when the process is about to abort.
//! Must never write a part of a document, or a second one.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

/// Whether this process has answered.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Writes the answer.
///
/// # Errors
/// What the write answered; EPIPE when the runtime has gone.
pub(crate) fn answer(to: &mut dyn Write, document: &Value) -> io::Result<()> {
    ANSWERED.store(true, Ordering::SeqCst);
    let mut line = document.to_string();
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// Writes to the process's own stdout unless it has answered already.
pub(crate) fn last_words(document: &Value) {
    if !ANSWERED.swap(true, Ordering::SeqCst) {
        // Nobody is left to tell that the runtime does not listen.
        let _ = answer(&mut io::stdout().lock(), document);
    }
}
