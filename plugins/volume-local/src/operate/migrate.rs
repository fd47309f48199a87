//! Volumes that go to another host and come from one: which may, under what name and options, and when one is a volume.
//! `operate` runs them on a thread of their own, and the work a process.
//! It must never remove a volume here before the other side has it, nor show one there before it is whole.

use std::path::Path;

use rustix::system::uname;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wharfline_spec::VolumeName;
use wharfline_spec::docker::migration::{MIGRATION, Offer, Receive, Reply, Send, Sent};
use wharfline_spec::docker::volume::OfVolume;

use super::copy::adopt_nothing;
use super::show::snapshots;
use crate::arrivals::{Arrival, Hold, filled_by};
use crate::backend::{Backend, Copy};
use crate::driver::{Volumes, delete_soon};
use crate::error::{Error, Result};
use crate::held::Held;
use crate::options::Kind;
use crate::record::{self, Arrived, Record};
use crate::volume::{About, RECORD, Turn, Volume};
use crate::work::{self, Job, Told};

/// Sends a volume, and removes it here when it is there, unless it is to stay.
pub(super) fn send(volumes: &Volumes, asked: &Send, told: Told<'_>) -> Result<Value> {
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("a migration")?;
    let about = volume.about();
    may_go(&about, asked)?;
    let offer = offer(volumes, &about, asked)?;
    let backend = about.backend(volumes.root().path());
    if asked.keep && backend.copies_at_once() {
        let staged = volumes.root().stage()?;
        backend.duplicate(&about.folder, staged.path(), Copy::Volume, told)?;
        // From here on the volume itself is free for others.
        drop(turn);
        let sent = run(&*backend, staged.path(), asked, (offer, told))?;
        return Ok(json!(sent));
    }
    let unused = volumes.is_unused(&volume, &turn);
    unused.map_err(|error| advise(error, asked.keep, backend.copies_at_once()))?;
    let mut sent = run(&*backend, &about.folder, asked, (offer, told))?;
    if let Sent::Moved(moved) = &mut sent
        && !asked.keep
    {
        moved.removed = true;
        leave(volumes, &volume, turn)?;
    }
    Ok(json!(sent))
}

/// Has a process send what is in `folder`, mounted meanwhile; its answer, or what failed first.
fn run(
    backend: &dyn Backend,
    folder: &Path,
    asked: &Send,
    (offer, told): (Offer, Told<'_>),
) -> Result<Sent> {
    let job = Job::Send {
        from: backend.files(folder),
        offer,
        input: asked.input.clone().into(),
        output: asked.output.clone().into(),
    };
    backend.mount(folder)?;
    let sent = work::run(&job, None, told);
    let unmounted = backend.unmount(folder);
    let sent = sent?;
    unmounted?;
    serde_json::from_value(sent).map_err(|e| Error::Work(format!("what the work answered: {e}")))
}

/// The other side has it all.
fn leave(volumes: &Volumes, volume: &Volume, turn: Turn<'_>) -> Result<()> {
    let taken = volumes.take_away(volume, &turn);
    drop(turn);
    match taken {
        Ok(trash) => {
            delete_soon(trash);
            Ok(())
        }
        Err(error) => Err(Error::Work(format!(
            "the other host has all of it, but it cannot be removed here: {error}"
        ))),
    }
}

/// What would be lost, or is not ours to send.
fn may_go(about: &About, asked: &Send) -> Result<()> {
    let refuse = |problem: &str| {
        Err(Error::Backend {
            backend: about.kind.name(),
            problem: problem.to_owned(),
        })
    };
    match &about.kind {
        Kind::Network(_) => {
            return refuse(
                "is not sent: its files are the server's; create it there with the same options",
            );
        }
        Kind::Tmpfs => return refuse("is not sent: it is empty when nobody uses it"),
        _ => {}
    }
    let snapshots = snapshots(&about.folder);
    if snapshots.is_empty() || asked.keep || asked.drop_snapshots {
        return Ok(());
    }
    Err(Error::HasSnapshots {
        name: about.name.clone(),
        snapshots: snapshots.into_iter().map(|one| one.name).collect(),
    })
}

fn advise(error: Error, keep: bool, at_once: bool) -> Error {
    let advice = match (keep, at_once) {
        (true, _) => "and no snapshot of it can be taken at once: stop its containers",
        (false, true) => "stop its containers; --keep sends a copy as of one moment",
        (false, false) => "stop its containers",
    };
    match error {
        Error::InUse { name, mut users } => {
            users.push(advice.to_owned());
            Error::InUse { name, users }
        }
        other => other,
    }
}

fn offer(volumes: &Volumes, about: &About, asked: &Send) -> Result<Offer> {
    let new = VolumeName::new(&asked.new)?;
    let mut there = about.clone();
    adopt_nothing(&mut there)?;
    let mut options = there.record.options;
    if let Some(bytes) = about.record.resized {
        options.insert("size".to_owned(), bytes.to_string());
    }
    for (key, value) in &asked.options {
        match value.is_empty() {
            true => drop(options.remove(key)),
            false => drop(options.insert(key.clone(), value.clone())),
        }
    }
    let from = uname().nodename().to_string_lossy().into_owned();
    let (root, created) = (volumes.root().path(), &about.record.created);
    // A copy is no earlier run of a move: its users may have changed it since.
    let kind = if asked.keep { "copy" } else { "move" };
    let known_by = format!(
        "{from}\0{}\0{}\0{created}\0{kind}",
        root.display(),
        about.name
    );
    let id: String = Sha256::digest(known_by)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Offer {
        migration: MIGRATION,
        id,
        from,
        name: new.to_string(),
        options,
        created: created.clone(),
        total: 0,
    })
}

/// Makes a volume of what another host sends, or goes on with it.
pub(super) fn receive(volumes: &Volumes, asked: &Receive, told: Told<'_>) -> Result<Value> {
    let offer = &asked.offer;
    if offer.migration != MIGRATION {
        return Err(Error::Work(format!(
            "the other host speaks version {} of migrations, and this one {MIGRATION}",
            offer.migration
        )));
    }
    let name = VolumeName::new(&offer.name)?;
    if let Some(digest) = arrived(volumes, &name, &offer.id) {
        return Ok(json!(Reply::Complete { digest }));
    }
    if let Some(other) = volumes.arrivals().find(&name)?
        && other.id != offer.id
    {
        let from = other.from;
        return Err(Error::Arriving { name, from });
    }
    let hold = volumes.arrivals().take_over(&name)?;
    // Whoever had it may have made it a volume meanwhile.
    if let Some(digest) = arrived(volumes, &name, &offer.id) {
        return Ok(json!(Reply::Complete { digest }));
    }
    if volumes.find(name.as_str()).is_ok() {
        return Err(Error::Taken(name));
    }
    let arrival = begin(volumes, &name, offer, &hold)?;
    let digest = fill(volumes, &name, (arrival, asked), (&hold, told))?;
    publish(volumes, &name, &hold, &digest)?;
    Ok(json!(Reply::Done { digest }))
}

/// The checksum of a volume that came by this migration.
fn arrived(volumes: &Volumes, name: &VolumeName, id: &str) -> Option<String> {
    let about = volumes.find(name.as_str()).ok()?.about();
    let arrived = about.record.arrived.as_ref()?;
    (arrived.id == id).then(|| arrived.digest.clone())
}

/// What has come of it, or its place, empty.
fn begin(volumes: &Volumes, name: &VolumeName, offer: &Offer, hold: &Hold<'_>) -> Result<Arrival> {
    let root = volumes.root();
    let kind = filled_by(&offer.options, root.path())?;
    if let Some(mut arrival) = volumes.arrivals().find(name)? {
        if arrival.record.options == offer.options {
            arrival.total = offer.total;
            return Ok(arrival);
        }
        // Asked for with other options now.
        if let Some(trash) = hold.abandon(root)? {
            delete_soon(trash);
        }
    }
    let mut record = Record::new(kind.name(), &offer.options);
    if record::seconds(&offer.created).is_some() {
        record.created.clone_from(&offer.created);
    }
    let mut arrival = Arrival::new(&offer.id, &offer.from, record);
    arrival.total = offer.total;
    let staged = root.stage()?;
    let about = arrival.about(name, staged.path().to_owned())?;
    about.backend(root.path()).make(staged.path())?;
    volumes.arrivals().prepare()?;
    // A note without a folder is nothing; a folder without a note is nobody's.
    record::write(&volumes.arrivals().note(name), &arrival)?;
    match staged.publish(&volumes.arrivals().place(name))? {
        true => Ok(arrival),
        false => Err(Error::Taken(name.clone())),
    }
}

/// Has a process lay what comes; its checksum when all is there, compared and on the disk.
fn fill(
    volumes: &Volumes,
    name: &VolumeName,
    (arrival, asked): (Arrival, &Receive),
    (hold, told): (&Hold<'_>, Told<'_>),
) -> Result<String> {
    let folder = volumes.arrivals().place(name);
    let backend = arrival
        .about(name, folder.clone())?
        .backend(volumes.root().path());
    backend.mount(&folder)?;
    let job = Job::Receive {
        to: backend.files(&folder),
        arrival: Box::new(arrival),
        note: volumes.arrivals().note(name),
        input: asked.input.clone().into(),
        output: asked.output.clone().into(),
    };
    // Also when whoever asked is gone: its pipe ends then, and how far it is gets noted.
    let filled = work::run(&job, None, &mut |progress| {
        let _ = told(progress);
        match hold.is_superseded() {
            true => Err(Error::Gone),
            false => Ok(()),
        }
    });
    let unmounted = backend.unmount(&folder);
    let filled = filled?;
    unmounted?;
    serde_json::from_value(filled).map_err(|e| Error::Work(format!("what the work answered: {e}")))
}

/// It is a volume from here on.
fn publish(volumes: &Volumes, name: &VolumeName, hold: &Hold<'_>, digest: &str) -> Result<()> {
    let arrivals = volumes.arrivals();
    let Some(arrival) = arrivals.find(name)? else {
        return Err(Error::Unknown(name.clone()));
    };
    let mut record = arrival.record;
    record.arrived = Some(Arrived {
        id: arrival.id,
        digest: digest.to_owned(),
    });
    let from = arrivals.place(name);
    record::write(&from.join(RECORD), &record)?;
    let folder = volumes.root().of(name);
    match wharfline_kernel::fs::beneath::rename_new(&from, &folder) {
        Err(refused) if refused.is_present() => return Err(Error::Taken(name.clone())),
        other => other?,
    }
    for parent in [&folder, &from]
        .into_iter()
        .filter_map(|path| path.parent())
    {
        record::sync_folder(parent).map_err(Error::file("sync", parent))?;
    }
    let about = About::of(name, folder, record)?;
    volumes.known_as(None, name.clone(), Volume::new(about, Held::default()));
    hold.forget()
}

/// Removes what has come of a volume.
pub(super) fn abandon(volumes: &Volumes, asked: &OfVolume) -> Result<()> {
    let name = VolumeName::new(&asked.name)?;
    let hold = volumes.arrivals().hold(&name)?;
    if volumes.arrivals().find(&name)?.is_none() {
        return Err(Error::Unknown(name));
    }
    if let Some(trash) = hold.abandon(volumes.root())? {
        delete_soon(trash);
    }
    Ok(())
}
