//! How far a long operation is, for whoever shows it.
//! `import` tells, `wharf` draws a bar of it.
//! It must never decide anything.

/// Somebody who wants to know.
pub trait Progress {
    /// Something new begins that will take so many bytes.
    fn begin(&mut self, what: &str, bytes: u64);
    /// So many bytes more are done.
    fn advance(&mut self, bytes: u64);
}

/// Nobody.
impl Progress for () {
    fn begin(&mut self, _: &str, _: u64) {}
    fn advance(&mut self, _: u64) {}
}
