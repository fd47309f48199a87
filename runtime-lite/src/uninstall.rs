//! `wharf uninstall`: takes back everything that wharf and the plugins keep on a host; docs/uninstall.md lists it.
//! People call it, once, before they remove the binaries.
//! It must never take anything from a container that lives: it refuses instead.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bundle::CGROUP_PARENT;
use crate::error::{Error, Result};
use crate::home::{Home, LIBCNI_CACHE};
use crate::{container, gc, netns, network, output, volume};

/// Plugins that keep something on the host beyond their attachments, in the order in which it goes.
const PLUGINS: [&str; 4] = ["portmap", "bridge", "host-local", "loopback"];

/// Removes everything, or says what would be removed.
pub(crate) fn uninstall(home: &Home, dry_run: bool) -> Result<()> {
    let living = gc::living(home)?;
    if !living.is_empty() {
        return Err(Error::StillUsed(living));
    }
    let kept = kept(home)?;
    if !kept.is_empty() {
        return Err(Error::StillThere(kept));
    }
    let mut report = Report {
        dry_run,
        failed: 0,
        said: HashSet::new(),
    };
    gc::leftovers(home, dry_run, &mut |line| output::print(&line))?;
    for known in network::all(home)?.0.into_iter().filter(|known| known.own) {
        let object = format!("network {}", known.list.name);
        report.take(&object, || {
            network::remove::give_up(home, &known.list)?;
            fs::remove_file(&known.path).map_err(Error::file("remove", &known.path))
        });
    }
    for plugin in PLUGINS {
        plugin_side(home, plugin, &mut report)?;
    }
    for path in files(home) {
        report.take(&path.display().to_string(), || remove(home, &path));
    }
    for dir in shared_folders() {
        if is_empty(&dir) {
            report.take(&dir.display().to_string(), || remove(home, &dir));
        }
    }
    match report.failed {
        0 => Ok(()),
        count => Err(Error::Uncleaned(count)),
    }
}

/// What the user has put there, and may want to keep.
fn kept(home: &Home) -> Result<Vec<String>> {
    let containers = container::all(home)?.into_iter();
    let containers = containers.filter(|(_, folder)| folder.kept());
    let containers = containers.map(|(about, _)| format!("container {}", about.name));
    let volumes = volume::all(home)?.into_iter();
    Ok(containers
        .chain(volumes.map(|name| format!("volume {name}")))
        .collect())
}

/// What has been said and done.
struct Report {
    dry_run: bool,
    failed: usize,
    /// The interface plugins keep some things together, and each would name them.
    said: HashSet<String>,
}

impl Report {
    /// Removes one object, or says that it would be.
    fn take(&mut self, object: &str, removal: impl FnOnce() -> Result<()>) {
        let done = match self.dry_run {
            true => Ok(()),
            false => removal(),
        };
        match done {
            Ok(()) => self.removed(object),
            Err(error) => self.failure(object, &error.chain()),
        }
    }

    fn removed(&mut self, object: &str) {
        if !self.said.insert(object.to_owned()) {
            return;
        }
        let verb = if self.dry_run {
            "would remove"
        } else {
            "remove"
        };
        output::print(&format!("{verb} {object}\n"));
    }

    fn failure(&mut self, object: &str, why: &str) {
        self.failed += 1;
        output::warn(&format!("{object}: {why}"));
    }
}

/// Has a plugin take back what it keeps: a line on stdout for each thing that goes. The first of its name counts, as for
/// a runtime. One that is not ours does not know the word: the reference's answers a CNI error, or nothing at all.
fn plugin_side(home: &Home, plugin: &str, report: &mut Report) -> Result<()> {
    let found = home.plugins().iter().map(|dir| dir.join(plugin));
    let Some(binary) = found.into_iter().find(|path| path.is_file()) else {
        return Ok(());
    };
    let mut command = Command::new(&binary);
    command.arg("uninstall").env_remove("CNI_COMMAND");
    if report.dry_run {
        command.arg("--dry-run");
    }
    let ran = command
        .stdin(Stdio::null())
        .output()
        .map_err(Error::file("run", &binary))?;
    let answer = String::from_utf8_lossy(&ran.stdout);
    if answer.starts_with('{') {
        return Ok(());
    }
    for object in answer.lines() {
        report.removed(object);
    }
    if !ran.status.success() {
        let complaint = String::from_utf8_lossy(&ran.stderr);
        report.failure(&binary.display().to_string(), complaint.trim());
    }
    Ok(())
}

/// wharf's own files, and the shared folder of named namespaces if nothing is left in it.
fn files(home: &Home) -> Vec<PathBuf> {
    let mut files = vec![
        home.run().to_owned(),
        home.lib().to_owned(),
        Path::new(LIBCNI_CACHE).join("wharfline.lock"),
    ];
    if netns::folder_is_ours(home) && is_empty(home.netns_dir()) {
        files.push(home.netns_dir().to_owned());
    }
    files.extend(control_groups());
    files.retain(|path| path.exists());
    files
}

/// The folders that plugins and runtimes share, if nothing is left in them.
fn shared_folders() -> Vec<PathBuf> {
    let root = Path::new(LIBCNI_CACHE);
    vec![root.join("networks"), root.join("results"), root.to_owned()]
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// The parent of all containers' control groups, in each hierarchy of v1 and in the one of v2.
fn control_groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let name = CGROUP_PARENT.trim_start_matches('/');
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = hierarchies
        .map(|entry| entry.path().join(name))
        .chain([root.join(name)])
        .filter(|path| path.is_dir() && !has_groups(path))
        .collect();
    found.sort();
    found
}

/// Whether containers are in it: those of another wharf, which has its own /run but shares the control groups.
fn has_groups(path: &Path) -> bool {
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().is_dir())
}

/// Removes a file, or a folder with its files; a control group's files go with it, and an absent one is success.
fn remove(home: &Home, path: &Path) -> Result<()> {
    let removed = match path {
        _ if path.starts_with("/sys/fs/cgroup") => fs::remove_dir(path),
        _ if path == home.netns_dir() => netns::remove_folder(path),
        _ if path.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    match removed {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        // The kernel lists what is mounted there, or made there meanwhile, as the reason.
        other => other.map_err(Error::file("remove", path)),
    }
}
