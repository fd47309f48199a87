//! `wharf restore`: containers come back after a reboot, or after a crash of their shim, as their restart policies say.
//! A systemd unit calls it at boot, and from time to time (packaging/systemd).
//! It must never start what the user has stopped, but for `always` after a reboot.

use wharf_protocol::{Phase, Restart, Status, boot_id};

use crate::container::life::Life;
use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::settle::{self, Left};
use crate::{output, start, turn};

/// Puts away what nobody looks after, and starts what is to run. Goes on after errors.
pub(crate) fn restore(home: &Home) -> Result<()> {
    let mut failed = 0;
    for (about, folder) in container::all(home)? {
        match one(home, &about, &folder) {
            Ok(false) => {}
            Ok(true) => output::print(&format!("{}\n", about.name)),
            Err(error) => {
                failed += 1;
                output::fail(&format!("{}: {}", about.name, error.chain()));
            }
        }
    }
    match failed {
        0 => Ok(()),
        count => Err(Error::Undone(count)),
    }
}

/// Says whether it was started.
fn one(home: &Home, about: &Container, folder: &Folder) -> Result<bool> {
    let (life, status) = (folder.life()?, folder.status()?);
    let Some(status) = status.filter(|_| life == Life::Exited || life == Life::Dead) else {
        return Ok(false);
    };
    let wanted = folder.kept() && comes_back(about.wish.orders.restart, life, &status);
    if life == Life::Dead {
        let Some(_claim) = settle::claim_dead(folder)? else {
            return Ok(false);
        };
        let _turn = turn::shared(home)?;
        let mut failed = settle::put_away(home, about, folder, Left::Everything);
        if let Some(error) = failed.pop() {
            return Err(error);
        }
    }
    if wanted {
        start::again(home, about.id.as_str())?;
    }
    Ok(wanted)
}

fn comes_back(policy: Restart, life: Life, status: &Status) -> bool {
    let rebooted = status.boot_id != boot_id();
    let cut_short = life == Life::Dead && status.phase != Phase::Exited;
    match policy {
        Restart::No => false,
        Restart::Always => rebooted || (cut_short && !status.stopped),
        Restart::UnlessStopped => (rebooted || cut_short) && !status.stopped,
        Restart::OnFailure { .. } => cut_short && !status.stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(boot: &str, phase: Phase, stopped: bool) -> Status {
        Status {
            boot_id: boot.to_owned(),
            phase,
            stopped,
            ..Status::default()
        }
    }

    #[test]
    fn only_always_brings_back_what_was_stopped_and_only_after_a_reboot() {
        let before = status("before", Phase::Exited, true);
        let now = status(&boot_id(), Phase::Exited, true);
        assert!(comes_back(Restart::Always, Life::Exited, &before));
        assert!(!comes_back(Restart::Always, Life::Exited, &now));
        assert!(!comes_back(Restart::UnlessStopped, Life::Exited, &before));
    }

    #[test]
    fn what_a_crash_cut_short_comes_back() {
        let cut = status(&boot_id(), Phase::Running, false);
        let failing = Restart::OnFailure { at_most: None };
        for policy in [Restart::Always, Restart::UnlessStopped, failing] {
            assert!(comes_back(policy, Life::Dead, &cut), "{policy:?}");
        }
        assert!(!comes_back(Restart::No, Life::Dead, &cut));
    }
}
