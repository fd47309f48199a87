//! `wharf events`: what happens to containers, from the file that `wharf` and the shims append to.
//! `main` calls it.
//! It must never miss one that was written while it looked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use wharf_protocol::clock;
use wharf_protocol::event::{Event, FILE, OLD_FILE};

use crate::container;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{cli, output, units};

/// Prints what has happened since, and then what happens.
pub(crate) fn events(home: &Home, asked: &cli::Events) -> Result<()> {
    let since = asked.since.as_deref().map(units::moment).transpose()?;
    let until = asked.until.as_deref().map(units::moment).transpose()?;
    let wanted = Wanted::of(asked, until)?;
    std::fs::create_dir_all(home.run()).map_err(Error::file("create", home.run()))?;
    let watch = watch(home.run())?;
    let mut names = Names::default();
    if let Some(since) = since {
        for file in [OLD_FILE, FILE] {
            for event in read(&home.run().join(file))? {
                if clock::parse(&event.time).is_some_and(|time| time >= since) {
                    wanted.show(home, &mut names, &event);
                }
            }
        }
    }
    let mut seen = read(&home.run().join(FILE))?.len();
    loop {
        if !wait(&watch, until)? {
            return Ok(());
        }
        let mut fresh = Vec::new();
        let now = read(&home.run().join(FILE))?;
        if now.len() < seen {
            // It was put aside: its last lines are in the other one.
            fresh.extend(read(&home.run().join(OLD_FILE))?.into_iter().skip(seen));
            seen = 0;
        }
        let count = now.len();
        fresh.extend(now.into_iter().skip(seen));
        seen = count;
        for event in &fresh {
            wanted.show(home, &mut names, event);
        }
    }
}

fn watch(dir: &Path) -> Result<Inotify> {
    let failed = || Error::kernel("watch", dir);
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed())?;
    let changes =
        AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_CREATE;
    inotify.add_watch(dir, changes).map_err(failed())?;
    Ok(inotify)
}

/// Waits for a change; `false` once `until` has come.
fn wait(watch: &Inotify, until: Option<i128>) -> Result<bool> {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            let rest = until - clock::parse(&clock::stamp()).unwrap_or_default();
            let Ok(rest) = u64::try_from(rest) else {
                return Ok(false);
            };
            PollTimeout::try_from(Duration::from_nanos(rest)).unwrap_or(PollTimeout::MAX)
        }
    };
    let mut watched = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    match poll(&mut watched, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::kernel("wait for", FILE)(errno)),
    }
    while watch.read_events().is_ok() {}
    Ok(true)
}

/// The whole lines of the file.
fn read(path: &Path) -> Result<Vec<Event>> {
    let Ok(file) = File::open(path) else {
        return Ok(Vec::new());
    };
    let mut events = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(Error::file("read", path))?;
        events.extend(serde_json::from_str::<Event>(&line));
    }
    Ok(events)
}

/// Containers' names, as far as they are still known.
type Names = BTreeMap<String, String>;

struct Wanted {
    containers: Vec<String>,
    actions: Vec<String>,
    until: Option<i128>,
    json: bool,
}

impl Wanted {
    fn of(asked: &cli::Events, until: Option<i128>) -> Result<Wanted> {
        let mut wanted = Wanted {
            containers: Vec::new(),
            actions: Vec::new(),
            until,
            json: asked.json,
        };
        for filter in &asked.filter {
            match filter.split_once('=') {
                Some(("container", name)) => wanted.containers.push(name.to_owned()),
                Some(("event", action)) => wanted.actions.push(action.to_owned()),
                _ => {
                    return Err(Error::BadValue {
                        given: filter.clone(),
                        rule: "is neither container=C nor event=E",
                    });
                }
            }
        }
        Ok(wanted)
    }

    fn show(&self, home: &Home, names: &mut Names, event: &Event) {
        let id = &event.container;
        if let Ok((about, _)) = container::find(home, id) {
            names.insert(id.clone(), about.name);
        }
        let name = names.get(id).cloned().unwrap_or_default();
        let meant = |wanted: &String| *wanted == name || id.starts_with(wanted.as_str());
        let late = |until| clock::parse(&event.time).is_some_and(|time| time > until);
        if (!self.containers.is_empty() && !self.containers.iter().any(meant))
            || (!self.actions.is_empty() && !self.actions.contains(&event.action))
            || self.until.is_some_and(late)
        {
            return;
        }
        if self.json {
            let line = serde_json::to_string(event).unwrap_or_default();
            output::print(&format!("{line}\n"));
            return;
        }
        let short = id.get(..12).unwrap_or(id);
        let line = format!(
            "{} {} {short} {name} {}",
            event.time, event.action, event.detail
        );
        output::print(&format!("{}\n", line.trim_end()));
    }
}
