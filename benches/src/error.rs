//! Errors of the benchmarks: a sentence that says what was tried, and what came of it.
//! Used by all of its modules, since whatever fails ends the run.
//! Nothing here may be needed to tell one error from another.

use std::fmt::Display;

/// What ends a run.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The outcome of whatever may end a run.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was tried.
pub(crate) trait Context<T> {
    /// Puts `tried` before the error.
    fn context(self, tried: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Option<T> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| format!("{}: there is none", tried()).into())
    }
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| format!("{}: {error}", tried()).into())
    }
}
