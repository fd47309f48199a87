//! `wharf stop`, `kill`, `restart`, `wait`, `rename`: what ends a container, or waits for its end.
//! `main` calls them; the shim of the container does the work.
//! It must never signal a process itself: only its shim knows that it is still the one that is meant.

use std::thread;

use wharf_protocol::{Report, Request, event};
use wharfline_spec::ContainerId;

use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::shim::Control;
use crate::{cli, names, output, start, units};

/// As with Docker.
const GRACE_SECONDS: i64 = 10;

/// Does `work` for all containers at once, and prints the names of those for which it worked, in order.
fn each(containers: &[String], work: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let all = containers
            .iter()
            .map(|name| scope.spawn(move || work(name)));
        let all: Vec<_> = all.collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or(Err(Error::Thread)))
            .collect()
    });
    let mut failed = 0;
    for (name, outcome) in containers.iter().zip(outcomes) {
        match outcome {
            Ok(()) => output::print(&format!("{name}\n")),
            Err(error) => {
                failed += 1;
                output::fail(&error.chain());
            }
        }
    }
    match failed {
        0 => Ok(()),
        count => Err(Error::Undone(count)),
    }
}

/// `wharf stop`.
pub(crate) fn stop(home: &Home, asked: &cli::Stop) -> Result<()> {
    each(&asked.containers, |name| one(home, name, asked))
}

fn one(home: &Home, name: &str, asked: &cli::Stop) -> Result<()> {
    let (about, folder) = container::find(home, name)?;
    let Some(control) = Control::call(&folder, name)? else {
        return Ok(());
    };
    match control.ask(&request(&about, asked)?, &[]) {
        // It was about to end by itself.
        Ok(_) | Err(Error::ShimGone(_)) => {}
        Err(error) => return Err(error),
    }
    folder.await_quiet(None)?;
    Ok(())
}

fn request(about: &Container, asked: &cli::Stop) -> Result<Request> {
    let process = &about.wish.process;
    let signal = asked.signal.as_ref().or(process.stop_signal.as_ref());
    let own = process.stop_timeout.map(u64::cast_signed);
    let seconds = asked.time.or(own).unwrap_or(GRACE_SECONDS);
    Ok(Request::Stop {
        signal: units::signal(signal.map_or("SIGTERM", String::as_str))?,
        grace_ms: u64::try_from(seconds)
            .ok()
            .map(|seconds| seconds.saturating_mul(1_000)),
    })
}

/// `wharf restart`.
pub(crate) fn restart(home: &Home, asked: &cli::Stop) -> Result<()> {
    each(&asked.containers, |name| {
        one(home, name, asked)?;
        start::again(home, name)
    })
}

/// `wharf kill`.
pub(crate) fn kill(home: &Home, asked: &cli::Kill) -> Result<()> {
    let signal = units::signal(&asked.signal)?;
    each(&asked.containers, |name| {
        let (_, folder) = container::find(home, name)?;
        let control = Control::call_running(&folder, name)?;
        control.ask(&Request::Kill { signal }, &[])?;
        Ok(())
    })
}

/// `wharf wait`: the exit statuses, in the order of the names.
pub(crate) fn wait(home: &Home, containers: &[String]) -> Result<()> {
    for name in containers {
        let (_, folder) = container::find(home, name)?;
        let code = await_end(&folder, name)?.ok_or_else(|| Error::NotRunning(name.clone()))?;
        output::print(&format!("{code}\n"));
    }
    Ok(())
}

/// The exit status of the container's run; `None` if it never had one.
fn await_end(folder: &Folder, name: &str) -> Result<Option<i32>> {
    if let Some(control) = Control::call(folder, name)? {
        match hear_of_end(&control) {
            Ok(code) => {
                // Whoever has waited may remove it.
                if folder.life().is_ok_and(|life| life.is_ending()) {
                    folder.await_quiet(None)?;
                }
                return Ok(Some(code));
            }
            // It has ended just now, and its status tells.
            Err(Error::ShimGone(_)) => {}
            Err(error) => return Err(error),
        }
        folder.await_quiet(None)?;
    }
    Ok(folder.status()?.and_then(|status| status.exit_code))
}

fn hear_of_end(control: &Control) -> Result<i32> {
    control.tell(&Request::Wait, &[])?;
    loop {
        if let (Report::Exited { code }, _) = control.hear()? {
            return Ok(code);
        }
    }
}

/// `wharf rename`.
pub(crate) fn rename(home: &Home, wanted: &str, name: &str) -> Result<()> {
    let (_, folder) = container::find(home, wanted)?;
    let _claim = folder.claim(wanted)?;
    let mut about = folder.container()?;
    ContainerId::new(name)?;
    names::take(home, name, &folder)?;
    let before = std::mem::replace(&mut about.name, name.to_owned());
    folder.rewrite(&about)?;
    names::release(home, &before, &about.id)?;
    event::tell(home.run(), about.id.as_str(), "rename", &before);
    Ok(())
}
