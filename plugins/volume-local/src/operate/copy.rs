//! Snapshots, rollbacks, clones, exports and imports: each is made aside, and appears by one rename.
//! `operate` runs them on a thread of their own.
//! It must never copy a volume in use file by file, unless it is told that this is meant.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharfline_kernel::fs::beneath;
use wharfline_spec::VolumeName;
use wharfline_spec::docker::volume::{Archive, OfSnapshot, OldNew};

use super::snapshot_folder;
use crate::backend::{Backend, Copy};
use crate::driver::Volumes;
use crate::error::{Error, Result};
use crate::options::{Kind, Options};
use crate::record::{self, SnapshotRecord};
use crate::root;
use crate::volume::{About, Turn, Volume};
use crate::work::{self, Job, Told};

/// Whether the volume may be read now: nobody uses it, or it is copied as of one moment, or that does not matter.
pub(super) fn is_still(
    volumes: &Volumes,
    volume: &Volume,
    turn: &Turn<'_>,
    by_files: bool,
    live: bool,
) -> Result<()> {
    if live || !by_files {
        return Ok(());
    }
    volumes
        .is_unused(volume, turn)
        .map_err(|error| match error {
            Error::InUse { name, mut users } => {
                users.push(
                    "and its files can only be copied one by one (--live does it all the same)"
                        .to_owned(),
                );
                Error::InUse { name, users }
            }
            other => other,
        })
}

pub(super) fn snapshot(volumes: &Volumes, asked: &OfSnapshot, told: Told<'_>) -> Result<Value> {
    let name = VolumeName::new(&asked.snapshot)?;
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("a snapshot")?;
    let about = volume.about();
    let taken = |problem| Error::Snapshot {
        volume: about.name.clone(),
        snapshot: name.clone(),
        problem,
    };
    let all = about.folder.join("snapshots");
    let place = all.join(name.as_str());
    if beneath::folder(&place).is_ok() {
        return Err(taken("the name is taken"));
    }
    let backend = about.backend(volumes.root().path());
    is_still(
        volumes,
        &volume,
        &turn,
        !backend.copies_at_once(),
        asked.live,
    )?;
    let staged = volumes.root().stage()?;
    backend.duplicate(&about.folder, staged.path(), Copy::Snapshot, told)?;
    record::write_new(&staged.path().join("snapshot.json"), &SnapshotRecord::new())?;
    match root::make(&all) {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::file("make", &all)(cause));
        }
        _ => {}
    }
    match staged.publish(&place)? {
        true => Ok(json!({"snapshot": name.as_str()})),
        false => Err(taken("the name is taken")),
    }
}

/// The volume as the snapshot has it. The snapshot stays.
pub(super) fn rollback(volumes: &Volumes, asked: &OfSnapshot, told: Told<'_>) -> Result<Value> {
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("a rollback")?;
    let from = snapshot_folder(&volume, &asked.snapshot)?;
    volumes.is_unused(&volume, &turn)?;
    let about = volume.about();
    let backend = about.backend(volumes.root().path());
    let content = backend.content().ok_or_else(|| Error::Backend {
        backend: about.kind.name(),
        problem: "is not ours to roll back: clone the snapshot instead".to_owned(),
    })?;
    backend.unmount(&about.folder)?;
    let staged = volumes.root().stage()?;
    backend.duplicate(&from, staged.path(), Copy::Volume, told)?;
    // What was the volume is staged now, and goes when that is dropped.
    beneath::exchange(&staged.path().join(content), &about.folder.join(content))?;
    record::sync_folder(&about.folder).map_err(Error::file("sync", &about.folder))?;
    Ok(json!({}))
}

/// A volume of its own with what another has. Of a snapshot where the name is `VOLUME@SNAPSHOT`.
pub(super) fn clone(volumes: &Volumes, asked: &OldNew, told: Told<'_>) -> Result<Value> {
    let new = VolumeName::new(&asked.new)?;
    volumes.is_free(&new)?;
    let (name, snapshot) = match asked.name.split_once('@') {
        Some((name, snapshot)) => (name, Some(snapshot)),
        None => (asked.name.as_str(), None),
    };
    let volume = volumes.find(name)?;
    let turn = volume.turn("a cloning")?;
    let mut about = (*volume.about()).clone();
    let backend = about.backend(volumes.root().path());
    let from = match snapshot {
        Some(snapshot) => snapshot_folder(&volume, snapshot)?,
        None => {
            is_still(
                volumes,
                &volume,
                &turn,
                !backend.copies_at_once(),
                asked.live,
            )?;
            about.folder.clone()
        }
    };
    adopt_nothing(&mut about)?;
    about.record.created = record::now();
    // The clone came from nowhere else.
    about.record.arrived = None;
    about.name = new.clone();
    about.folder = volumes.root().of(&new);
    volumes.make_of(about, |_, staged| {
        backend.duplicate(&from, staged.path(), Copy::Volume, told)
    })?;
    Ok(json!({"volume": new.as_str()}))
}

/// Writes a volume's files into a tar file.
pub(super) fn export(volumes: &Volumes, asked: &Archive, told: Told<'_>) -> Result<Value> {
    let archive = absolute(&asked.path)?;
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("an export")?;
    is_still(volumes, &volume, &turn, true, asked.live)?;
    let about = volume.about();
    let backend = about.backend(volumes.root().path());
    // Mounted for as long as it is read; for whoever has it, it stays.
    backend.mount(&about.folder)?;
    let job = Job::Export {
        from: backend.files(&about.folder),
        archive,
    };
    let exported = work::run(&job, None, told);
    if volume.held().is_free() {
        backend.unmount(&about.folder)?;
    }
    exported
}

/// Makes a volume of a tar file.
pub(super) fn import(volumes: &Volumes, asked: &Archive, told: Told<'_>) -> Result<Value> {
    let archive = absolute(&asked.path)?;
    let name = VolumeName::new(&asked.name)?;
    let mut filled = Value::Null;
    volumes.make(&name, &asked.options, |about, staged| {
        if about.options.read_only
            || !matches!(about.kind.name(), "directory" | "btrfs" | "quota" | "loop")
        {
            return Err(Error::Backend {
                backend: about.kind.name(),
                problem: "cannot be filled".to_owned(),
            });
        }
        let backend = about.backend(volumes.root().path());
        backend.make(staged.path())?;
        filled = fill(&*backend, staged.path(), archive, told)?;
        Ok(())
    })?;
    Ok(filled)
}

fn fill(backend: &dyn Backend, folder: &Path, archive: PathBuf, told: Told<'_>) -> Result<Value> {
    backend.mount(folder)?;
    let job = Job::Import {
        archive,
        to: backend.files(folder),
    };
    let filled = work::run(&job, None, told);
    backend.unmount(folder)?;
    filled
}

fn absolute(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(Error::Work(format!("{} is not absolute", path.display()))),
    }
}

/// A copy of an adopted folder is a folder of ours.
pub(super) fn adopt_nothing(about: &mut About) -> Result<()> {
    if matches!(about.kind, Kind::Bind(_)) {
        about
            .record
            .options
            .retain(|key, _| key.starts_with("label.") || key == "access");
        about.record.backend = "directory".to_owned();
        about.options = Options::parse(&about.record.options)?;
        about.kind = Kind::Directory;
    }
    Ok(())
}
