//! What the kernel's answer means to somebody who wants a state, not a change.
//! Operations, undos and deletions ask here; what is absent or present already is their success.
//! It must never swallow another refusal.

use wharfline_spec::names::IfName;

use crate::error::{Error, ErrorKind, Result};

/// What is there already counts as made.
pub(crate) fn or_present(done: wharfline_kernel::Result<()>) -> Result<()> {
    match done {
        Err(e) if !e.is_present() => Err(e.into()),
        _ => Ok(()),
    }
}

/// What is not there counts as deleted.
pub(crate) fn or_absent(done: wharfline_kernel::Result<()>) -> Result<()> {
    match done {
        Err(e) if !e.is_absent() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Somebody else deleted a link that was just there.
pub(crate) fn vanished(link: &IfName) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("link {link} vanished while it was being set up"),
    )
}
