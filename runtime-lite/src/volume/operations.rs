//! What volumes of the driver `wharf-volume` have beyond Docker's protocol: further paths of its socket (crates/spec,
//! `docker/volume.rs`). `command` calls it.
//! It must never wait for a driver that says nothing, nor do to a volume what a container of wharf's would notice.

mod archive;
mod backup;
mod migrate;
mod ssh;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wharfline_spec::docker::migration::Arriving;
use wharfline_spec::docker::volume::{
    Create, Described, Descriptions, Event, ListAsked, OPERATIONS, OfSnapshot, OfVolume, OldNew,
    Prune, Pruned, Resize, Usage,
};

pub(crate) use self::backup::BackupOperation;
pub(crate) use self::migrate::Migrate;
use super::command::{options_of, users};
use super::driver_of;
use crate::cli::{Volume, VolumeOperation};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::image::{Bar, size};
use crate::output::{self, Table};
use crate::plugin::{Address, Refusal, exchange};

/// The driver that has these operations, unless another is named.
pub(super) const DRIVER: &str = "wharf-volume";
/// How long it may take for what is quick; dockerd waits as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may say nothing while it works: it says something every second.
const SILENCE: Duration = Duration::from_secs(60);

/// A driver with these operations.
#[derive(Clone)]
struct Server {
    address: Address,
    name: String,
}

impl Server {
    fn of_driver(name: &str) -> Result<Server> {
        let address = Address::find(name)?;
        let name = name.to_owned();
        Ok(Server { address, name })
    }

    /// That of a volume of wharf's, else the default.
    fn of_volume(home: &Home, volume: &str) -> Result<Server> {
        let volume = volume.split('@').next().unwrap_or_default();
        match super::checked_name(volume).and_then(|name| driver_of(home, &name))? {
            Some(driver) => Server::of_driver(&driver.name),
            None => Server::of_driver(DRIVER),
        }
    }

    fn at(socket: &Path) -> Server {
        Server {
            address: Address::Unix(socket.to_owned()),
            name: socket.display().to_string(),
        }
    }

    /// Does what is quick.
    fn ask<T: DeserializeOwned>(&self, method: &str, body: &impl Serialize) -> Result<T> {
        let answer = exchange::post(
            &self.address,
            method,
            &text(body),
            Instant::now() + PATIENCE,
        );
        let answer = answer.map_err(|refusal| self.failed(refusal))?;
        serde_json::from_value(answer)
            .map_err(|cause| self.failed(Refusal::Broken(cause.to_string())))
    }

    fn operate<T: DeserializeOwned>(&self, operation: &str, body: &impl Serialize) -> Result<T> {
        self.ask(&path(operation), body)
    }

    /// Does what takes time, with a bar.
    fn work(&self, operation: &str, what: &str, body: &impl Serialize) -> Result<()> {
        self.work_for(operation, what, body).map(drop)
    }

    /// The same where it has a result.
    fn work_for(&self, operation: &str, what: &str, body: &impl Serialize) -> Result<Value> {
        let mut bar = Bar::on_terminal();
        let mut last = None;
        let mut heard = |line: &str| match serde_json::from_str(line) {
            Ok(Event::Progress(now)) => bar.stand(what, now.done, now.total.unwrap_or(now.done)),
            Ok(event) => last = Some(event),
            Err(_) => {}
        };
        let ended = exchange::post_for_lines(
            &self.address,
            &path(operation),
            &text(body),
            SILENCE,
            &mut heard,
        );
        bar.clear();
        ended.map_err(|refusal| self.failed(refusal))?;
        match last {
            Some(Event::Done(value)) => Ok(value),
            Some(Event::Failed(why)) => Err(self.failed(Refusal::Said(why))),
            _ => Err(self.failed(Refusal::Broken("the answer was cut off".to_owned()))),
        }
    }

    fn failed(&self, refusal: Refusal) -> Error {
        Error::Driver {
            object: String::new(),
            driver: self.name.clone(),
            doing: "have it done",
            answered: matches!(refusal, Refusal::Said(_)),
            said: refusal.told_of(&self.address),
        }
    }
}

fn text(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

fn path(operation: &str) -> String {
    format!("{}{operation}", OPERATIONS.trim_start_matches('/'))
}

/// Everything at a socket, past wharf's own notes of volumes.
pub(super) fn by_socket(home: &Home, socket: &Path, word: Volume) -> Result<()> {
    let server = Server::at(socket);
    match word {
        Volume::Create {
            name,
            driver: None,
            opt,
        } => {
            let name = match name {
                Some(name) => name,
                None => crate::container::new_id()?.to_string(),
            };
            let opts = options_of(&opt)?;
            let asked = Create {
                name: name.clone(),
                opts,
            };
            let _: Value = server.ask("VolumeDriver.Create", &asked)?;
            said(&name)
        }
        Volume::Create {
            driver: Some(_), ..
        }
        | Volume::Ls {
            driver: Some(_), ..
        } => Err(Error::Conflict {
            one: "--socket",
            other: "--driver",
        }),
        Volume::Ls {
            driver: None,
            output,
        } => list(&server, output.json),
        Volume::Inspect { volumes, format } => inspect(&server, &volumes, format.as_deref()),
        Volume::Rm { volumes } => {
            for name in volumes {
                // A removal of what there is not succeeds by Docker's protocol; people want to hear of it.
                if abandon(&server, &name)? {
                    said(&name)?;
                    continue;
                }
                let _: Value = server.ask("VolumeDriver.Get", &OfVolume { name: name.clone() })?;
                let _: Value =
                    server.ask("VolumeDriver.Remove", &OfVolume { name: name.clone() })?;
                said(&name)?;
            }
            Ok(())
        }
        Volume::Operation(operation) => perform(home, &server, operation),
    }
}

/// An operation of whoever keeps the volume.
pub(super) fn by_driver(home: &Home, operation: VolumeOperation) -> Result<()> {
    use VolumeOperation as Op;
    let server = match &operation {
        // Whoever is at the other end hears of it, too.
        Op::Receive => return migrate::receive(Server::of_driver(DRIVER)),
        Op::Prune { .. } | Op::Import { .. } => Server::of_driver(DRIVER)?,
        Op::Migrate(asked) => Server::of_volume(home, &asked.volume)?,
        Op::Backups(operation) => match operation.volume() {
            Some(volume) => Server::of_volume(home, volume)?,
            None => Server::of_driver(DRIVER)?,
        },
        Op::Rename { volume, .. }
        | Op::Resize { volume, .. }
        | Op::Snapshot { volume, .. }
        | Op::Snapshots { volume, .. }
        | Op::RmSnapshot { volume, .. }
        | Op::Rollback { volume, .. }
        | Op::Clone { volume, .. }
        | Op::Export { volume, .. } => Server::of_volume(home, volume)?,
    };
    perform(home, &server, operation)
}

fn perform(home: &Home, server: &Server, operation: VolumeOperation) -> Result<()> {
    use VolumeOperation as Op;
    match operation {
        Op::Prune { filter, dry_run } => {
            let asked = Prune {
                filters: filter,
                dry_run,
            };
            let pruned: Pruned = server.operate("Prune", &asked)?;
            for name in &pruned.volumes {
                if !dry_run {
                    forget(home, name)?;
                }
                said(name)?;
            }
            Ok(())
        }
        Op::Rename { volume, new } => rename(home, server, volume, new),
        Op::Resize { volume, size } => {
            let _: Value = server.operate("Resize", &Resize { name: volume, size })?;
            Ok(())
        }
        Op::Snapshot { volume, name, live } => {
            let asked = OfSnapshot {
                name: volume,
                snapshot: name.clone(),
                live,
            };
            server.work("Snapshot", "snapshot", &asked)?;
            said(&name)
        }
        Op::Snapshots { volume, output } => snapshots(server, volume, output.json),
        Op::RmSnapshot { volume, name } => {
            let asked = OfSnapshot {
                name: volume,
                snapshot: name,
                live: false,
            };
            let _: Value = server.operate("RemoveSnapshot", &asked)?;
            Ok(())
        }
        Op::Rollback { volume, name } => {
            let asked = OfSnapshot {
                name: volume,
                snapshot: name,
                live: false,
            };
            server.work("Rollback", "rollback", &asked)
        }
        Op::Clone { volume, new, live } => {
            server.work(
                "Clone",
                "clone",
                &OldNew {
                    name: volume,
                    new: new.clone(),
                    live,
                },
            )?;
            said(&new)
        }
        Op::Export {
            volume,
            output,
            live,
        } => archive::export(server, volume, &output, live),
        Op::Import { file, new, opt } => {
            archive::import(server, &file, &new, options_of(&opt)?)?;
            said(&new)
        }
        Op::Migrate(asked) => migrate::migrate(home, server, *asked),
        Op::Receive => migrate::receive(Ok(server.clone())),
        Op::Backups(operation) => backup::perform(server, operation),
    }
}

fn said(name: &str) -> Result<()> {
    output::print(&format!("{name}\n"));
    Ok(())
}

/// With it goes the note that wharf may have of it, unless one of its containers mounts it.
fn rename(home: &Home, server: &Server, name: String, new: String) -> Result<()> {
    let containers = users(home, &name)?;
    if !containers.is_empty() {
        return Err(Error::VolumeInUse { name, containers });
    }
    let _: Value = server.operate(
        "Rename",
        &OldNew {
            name: name.clone(),
            new: new.clone(),
            live: false,
        },
    )?;
    let (from, to) = (home.volumes().join(&name), home.volumes().join(&new));
    match std::fs::rename(&from, to) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("rename", from)(cause))
        }
        _ => said(&new),
    }
}

/// The note that wharf may have of a volume that is gone.
fn forget(home: &Home, name: &str) -> Result<()> {
    if driver_of(home, name)?.is_some() {
        let folder = home.volumes().join(name);
        std::fs::remove_dir_all(&folder).map_err(Error::file("remove", folder))?;
    }
    Ok(())
}

/// Gives up what has come of a volume from another host; false where that is nothing.
fn abandon(server: &Server, name: &str) -> Result<bool> {
    let listed: Descriptions = server.operate("List", &ListAsked::default())?;
    if listed.arriving.iter().all(|arriving| arriving.name != name) {
        return Ok(false);
    }
    let name = name.to_owned();
    let _: Value = server.operate("Abandon", &OfVolume { name })?;
    Ok(true)
}

/// The same of the default driver, for a name that wharf has no volume of.
pub(super) fn abandon_by_default(name: &str) -> Result<bool> {
    match Server::of_driver(DRIVER) {
        Ok(server) => abandon(&server, name),
        Err(_) => Ok(false),
    }
}

/// Lists what our driver has, with all that it says; false for another, which is asked as dockerd asks it.
pub(super) fn ls(home: &Home, driver: &str, as_json: bool) -> Result<bool> {
    if driver != DRIVER {
        return Ok(false);
    }
    // Introduces wharf to it, as every use of a driver does.
    super::driver::Driver::find(home, driver)?;
    list(&Server::of_driver(driver)?, as_json).map(|()| true)
}

fn list(server: &Server, as_json: bool) -> Result<()> {
    let asked = ListAsked {
        name: None,
        usage: true,
    };
    let listed: Descriptions = server.operate("List", &asked)?;
    if as_json {
        let mut all = json!(listed.volumes);
        if let Some(all) = all.as_array_mut() {
            all.extend(listed.arriving.iter().map(as_document));
        }
        output::print_json(&all);
        return Ok(());
    }
    let mut table = Table::new(&[
        "VOLUME",
        "BACKEND",
        "USED",
        "FREE",
        "INODES",
        "SNAPSHOTS",
        "USERS",
    ]);
    for volume in &listed.volumes {
        let usage = volume.usage.unwrap_or_default();
        let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), size);
        table.row(vec![
            volume.name.clone(),
            volume.backend.clone(),
            bytes(usage.used_bytes),
            bytes(usage.free_bytes),
            inodes(usage),
            volume.snapshots.len().to_string(),
            volume
                .used_by
                .iter()
                .map(|id| id.chars().take(12).collect())
                .collect::<Vec<String>>()
                .join(" "),
        ]);
    }
    for arriving in &listed.arriving {
        let mut row = vec!["-".to_owned(); 7];
        row[0].clone_from(&arriving.name);
        "arriving".clone_into(&mut row[1]);
        row[2] = format!("{} of {}", size(arriving.bytes), size(arriving.total));
        row[6] = format!("from {}", arriving.from);
        table.row(row);
    }
    output::print(&table.render());
    Ok(())
}

/// No volume yet, and so of no backend.
fn as_document(arriving: &Arriving) -> Value {
    json!({"name": arriving.name, "backend": "arriving", "arriving": arriving})
}

/// Used, of all that there are where that is limited.
fn inodes(usage: Usage) -> String {
    match (usage.used_inodes, usage.free_inodes) {
        (Some(used), Some(free)) => format!("{used} of {}", used + free),
        (Some(used), None) => used.to_string(),
        _ => "-".to_owned(),
    }
}

fn describe(server: &Server, name: &str) -> Result<Described> {
    let asked = ListAsked {
        name: Some(name.to_owned()),
        usage: true,
    };
    let listed: Descriptions = server.operate("List", &asked)?;
    let mut volumes = listed.volumes.into_iter();
    volumes
        .next()
        .ok_or_else(|| Error::NoSuchVolume(name.to_owned()))
}

fn inspect(server: &Server, names: &[String], template: Option<&str>) -> Result<()> {
    let described = names
        .iter()
        .map(|name| describe(server, name).map(|volume| json!(volume)));
    let documents = described.collect::<Result<Vec<Value>>>()?;
    match template {
        None => output::print_json(&Value::Array(documents)),
        Some(template) => {
            for document in &documents {
                output::print(&format!("{}\n", crate::format::fill(template, document)?));
            }
        }
    }
    Ok(())
}

fn snapshots(server: &Server, volume: String, as_json: bool) -> Result<()> {
    let found = describe(server, &volume)?.snapshots;
    if as_json {
        output::print_json(&json!(found));
        return Ok(());
    }
    let mut table = Table::new(&["SNAPSHOT", "CREATED"]);
    for snapshot in found {
        table.row(vec![snapshot.name, snapshot.created]);
    }
    output::print(&table.render());
    Ok(())
}

/// Options of a new volume.
type Options = BTreeMap<String, String>;
