//! Waiting for a condition with a deadline and a name.
//!
//! Called wherever the kernel finishes something behind our back (a namespace that dies, a route that appears). It must
//! never be used where an event tells the same: a process's end, a socket that listens.

use std::time::{Duration, Instant};

/// How long things may take here: `wanted` times the factor in `WHARFLINE_TEST_TIME_SCALE` (1 without it; the emulated
/// machine of `tests/vm` runs about 20 times slower).
pub fn patience(wanted: Duration) -> Duration {
    let scale = std::env::var("WHARFLINE_TEST_TIME_SCALE")
        .ok()
        .and_then(|v| v.parse::<u32>().ok());
    wanted * scale.unwrap_or(1)
}

/// Asks `condition` again and again until it answers `Ok`, and returns that answer.
///
/// # Panics
///
/// Past `deadline` (scaled by [`patience`]), with `what` and the reason that the last try gave.
#[track_caller]
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + patience(deadline);
    let mut pause = Duration::from_millis(1);
    loop {
        match condition() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= end => {
                panic!("waited {deadline:?} in vain for {what}: {reason}")
            }
            // The kernel has no event for most of what is awaited here (the end of a namespace, the settling of
            // addresses); a pause that doubles keeps the two processors free for the kernel's own work.
            Err(_) => std::thread::park_timeout(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
