//! When to ask the kernel again about users of whom we are not sure: at once, then less and less often.
//! `driver` runs it on a thread of its own, and wakes it when dockerd was started anew.
//! It must never ask when there is nobody to ask about.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The first and the longest time between two questions.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// Wakes and waits.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Sweeper {
    /// There is somebody to ask about.
    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.wake.notify_all();
    }

    /// Calls `sweep` for as long as the process lives; it says whether to ask again.
    pub(crate) fn run(&self, sweep: impl Fn() -> bool) {
        let mut pause = FIRST;
        let mut again = sweep();
        loop {
            let woken = self.woken.lock().unwrap_or_else(|e| e.into_inner());
            let is_asleep = |woken: &mut bool| !*woken;
            let mut woken = match again {
                true => {
                    self.wake
                        .wait_timeout_while(woken, pause, is_asleep)
                        .unwrap_or_else(|e| e.into_inner())
                        .0
                }
                false => self
                    .wake
                    .wait_while(woken, is_asleep)
                    .unwrap_or_else(|e| e.into_inner()),
            };
            pause = if *woken {
                FIRST
            } else {
                (pause * 2).min(LONGEST)
            };
            *woken = false;
            drop(woken);
            again = sweep();
        }
    }
}
