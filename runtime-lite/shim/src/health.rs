//! Asking a container whether it is well: its own command, executed in it, at intervals.
//! `supervise` starts a probe when one is due, and tells how it ended.
//! It must never do anything about the answer but say it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Spec;
use rustix::fs::MemfdFlags;
use serde_json::Value;
use wharf_protocol::{Health, Wellbeing, WellbeingState, file};

use crate::Result;
use crate::error::ShimError;

/// So much of what a probe prints is kept.
const OUTPUT_BYTES: u64 = 4096;

/// The health check of a running container.
pub(crate) struct Check {
    orders: Health,
    /// Since when failures count.
    grace_ends: Instant,
    step: Step,
    pub(crate) wellbeing: Wellbeing,
}

enum Step {
    /// The next probe is due then.
    Resting(Instant),
    /// A probe runs, and may do so until then; what it prints goes to the file.
    Probing(Instant, File),
}

impl Check {
    pub(crate) fn new(orders: Health) -> Check {
        let now = Instant::now();
        Check {
            grace_ends: now + Duration::from_millis(orders.start_period_ms),
            step: Step::Resting(now + Duration::from_millis(orders.interval_ms)),
            wellbeing: Wellbeing {
                state: WellbeingState::Starting,
                failures: 0,
                output: String::new(),
            },
            orders,
        }
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Instant {
        match self.step {
            Step::Resting(until) | Step::Probing(until, _) => until,
        }
    }

    pub(crate) fn probing(&self) -> bool {
        matches!(self.step, Step::Probing(..))
    }

    /// The process of the next probe, and its stdin, stdout and stderr.
    pub(crate) fn probe(&mut self, dir: &Path) -> Result<(Value, [OwnedFd; 3])> {
        let failed = || ShimError::file("prepare a probe of", dir);
        let output = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC)
            .map_err(|errno| failed()(errno.into()))?;
        let output = File::from(output);
        let ends = [
            File::open("/dev/null").map_err(failed())?.into(),
            output.try_clone().map_err(failed())?.into(),
            output.try_clone().map_err(failed())?.into(),
        ];
        let until = Instant::now() + Duration::from_millis(self.orders.timeout_ms);
        self.step = Step::Probing(until, output);
        let spec = Spec::load(dir.join(file::BUNDLE))
            .map_err(|cause| crate::runtime::refused("read the bundle")(cause.into()))?;
        let mut process =
            serde_json::to_value(spec.process()).map_err(|cause| failed()(cause.into()))?;
        if let Some(fields) = process.as_object_mut() {
            fields.insert("args".to_owned(), self.orders.command.clone().into());
            fields.insert("terminal".to_owned(), false.into());
        }
        Ok((process, ends))
    }

    /// A probe ended (`None`: it took too long, or could not be made); says whether the state has changed.
    pub(crate) fn ended(&mut self, code: Option<i32>) -> bool {
        let rest = Instant::now() + Duration::from_millis(self.orders.interval_ms);
        let before = self.wellbeing.state;
        if let Step::Probing(_, output) = &mut self.step {
            self.wellbeing.output = beginning(output);
        }
        self.step = Step::Resting(rest);
        if code == Some(0) {
            self.wellbeing.failures = 0;
            self.wellbeing.state = WellbeingState::Healthy;
        } else if before != WellbeingState::Starting || Instant::now() >= self.grace_ends {
            self.wellbeing.failures += 1;
            if self.wellbeing.failures >= self.orders.retries {
                self.wellbeing.state = WellbeingState::Unhealthy;
            }
        }
        before != self.wellbeing.state
    }
}

fn beginning(output: &mut File) -> String {
    let mut text = Vec::new();
    let _ = output.seek(SeekFrom::Start(0));
    let _ = output.take(OUTPUT_BYTES).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start_period_ms: u64) -> Check {
        Check::new(Health {
            command: vec!["true".to_owned()],
            interval_ms: 1_000,
            timeout_ms: 1_000,
            start_period_ms,
            retries: 2,
        })
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let mut check = check(0);
        assert!(!check.ended(Some(1)));
        assert!(check.ended(None));
        assert_eq!(check.wellbeing.state, WellbeingState::Unhealthy);
        assert!(check.ended(Some(0)));
        assert_eq!(check.wellbeing.state, WellbeingState::Healthy);
        assert!(!check.ended(Some(1)));
        assert_eq!(check.wellbeing.failures, 1);
    }

    #[test]
    fn failures_while_it_starts_do_not_count() {
        let mut check = check(60_000);
        for _ in 0..5 {
            assert!(!check.ended(Some(1)));
        }
        assert_eq!(check.wellbeing.state, WellbeingState::Starting);
        assert!(check.ended(Some(0)));
    }
}
