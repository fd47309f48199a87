//! A snapshot of everything that a plugin can change on a host, and the difference of two.
//!
//! Called by tests as `before`, act, `after`: the whole difference is what they assert, so a side effect that nobody
//! thought of can't hide. It must hold nothing that changes by itself (counters, timers, carrier, link-local addresses).

mod files;
mod net;
mod nft;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::wait::wait_for;

/// Every object by name ("host link cni0"), with what it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    objects: BTreeMap<String, String>,
}

impl World {
    /// Links, addresses, routes, rules, permanent neighbours and sysctls of the host and `namespaces`; the host's nft
    /// ruleset; the files of the lab's private directories; its processes.
    pub(crate) fn of(lab: &Lab, namespaces: &[&Namespace]) -> World {
        let mut world = World::default();
        net::observe(lab.host(), &mut world);
        nft::observe(lab.host(), &mut world);
        for namespace in namespaces {
            net::observe(namespace, &mut world);
        }
        files::observe(lab, &mut world);
        for pid in lab.processes() {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            world.note(format!("process {pid}"), command);
        }
        world
    }

    fn note(&mut self, object: String, state: String) {
        self.objects.insert(object, state);
    }

    /// The names of all objects that begin with `prefix`.
    pub fn objects<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let names = self.objects.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(prefix))
    }

    /// What an object is, if it is there.
    pub fn state(&self, object: &str) -> Option<&str> {
        self.objects.get(object).map(String::as_str)
    }

    /// The same world without the objects whose names begin with `prefix`.
    pub fn without(mut self, prefix: &str) -> World {
        self.objects.retain(|name, _| !name.starts_with(prefix));
        self
    }

    /// The part of the world whose objects' names begin with one of `prefixes`.
    pub fn only(mut self, prefixes: &[&str]) -> World {
        self.objects
            .retain(|name, _| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        self
    }

    /// The same world without the files below `prefix` that are empty, or of which only the existence is noted.
    pub fn without_empty(mut self, prefix: &str) -> World {
        self.objects.retain(|name, state| {
            !(name.starts_with(prefix) && ["", "\"\""].contains(&state.as_str()))
        });
        self
    }

    /// What one has to do to this world to get `other`.
    pub fn difference(&self, other: &World) -> Difference {
        let gone = self
            .objects
            .iter()
            .filter(|(k, _)| !other.objects.contains_key(*k));
        let new = other
            .objects
            .iter()
            .filter(|(k, _)| !self.objects.contains_key(*k));
        let changed = self.objects.iter().filter_map(|(name, was)| {
            let is = other.objects.get(name)?;
            (was != is).then(|| format!("~ {name}\n    was {was}\n    is  {is}"))
        });
        let mut lines: Vec<String> = gone.map(|(k, v)| format!("- {k}: {v}")).collect();
        lines.extend(new.map(|(k, v)| format!("+ {k}: {v}")));
        lines.extend(changed);
        Difference { lines }
    }

    /// Asserts that `now` gives this very world, at the latest when the kernel has ended what dies asynchronously
    /// (links of a namespace that went away).
    #[track_caller]
    pub fn returns(&self, what: &str, now: impl Fn() -> World) {
        wait_for(what, Duration::from_secs(10), || {
            let difference = self.difference(&now());
            if difference.is_empty() {
                Ok(())
            } else {
                Err(format!("this remains:\n{difference}"))
            }
        });
    }
}

/// The objects that differ between two worlds, one per line: `-` gone, `+` new, `~` altered.
#[derive(Debug, Clone, Default)]
pub struct Difference {
    lines: Vec<String>,
}

impl Difference {
    /// Whether the two worlds are the same.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether some line has `text` in it.
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}
