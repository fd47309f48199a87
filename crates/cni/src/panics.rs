//! Panics: a defect of ours still answers the runtime with one document, code 999.
//! Installed by `main`; `boundary.rs` catches the unwinding and asks here what was said.
//! Must never swallow a panic silently: its message goes to stderr too.

use std::cell::Cell;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Mutex;

use wharfline_spec::cni::{CniError, Version, code};

/// Message and place of the last panic.
static LAST: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    /// Panics of this thread that nobody has caught.
    static UNCAUGHT: Cell<u32> = const { Cell::new(0) };
}

/// Replaces the process's panic hook.
pub(crate) fn install() {
    panic::set_hook(Box::new(hook));
}

/// Runs `verb`; a panic becomes the error that the runtime gets.
pub(crate) fn caught<T>(verb: impl FnOnce() -> T) -> Result<T, CniError> {
    panic::catch_unwind(panic::AssertUnwindSafe(verb)).map_err(|payload| {
        UNCAUGHT.set(0);
        let noted = LAST.lock().ok().and_then(|mut last| last.take());
        internal(&noted.unwrap_or_else(|| said(&*payload)))
    })
}

fn hook(info: &PanicHookInfo<'_>) {
    let place = info
        .location()
        .map(|at| format!(" at {}:{}", at.file(), at.line()));
    let message = format!("{}{}", said(info.payload()), place.unwrap_or_default());
    // stderr may be closed; the document is what counts.
    let _ = writeln!(io::stderr(), "panic: {message}");
    let uncaught = UNCAUGHT.get() + 1;
    UNCAUGHT.set(uncaught);
    if uncaught > 1 {
        // A panic while another unwinds: the process aborts when this hook returns.
        crate::stdout::last_words(&internal(&message).to_json(Version::NEWEST));
    }
    if let Ok(mut last) = LAST.lock() {
        last.replace(message);
    }
}

fn said(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

fn internal(message: &str) -> CniError {
    CniError::new(
        code::INTERNAL,
        format!("a defect of this plugin: {message}"),
    )
}
