//! Backups of volumes, and volumes of backups; what a repository has, and what of it stays.
//! `operate` runs them on a thread of their own, and they a process each.
//! It must never back up a volume that is written meanwhile without saying so.

use serde_json::{Value, json};
use wharfline_spec::VolumeName;
use wharfline_spec::docker::volume::{Backup, Forget, OfRepository, Repository, Restore};

use super::copy::is_still;
use crate::backend::{Backend, Copy};
use crate::driver::Volumes;
use crate::error::{Error, Result};
use crate::volume::{About, Volume};
use crate::work::{self, Job, Task, Told};

/// How a backup's moment came about, for its user.
const AT_ONCE: &str = "of one moment, by a snapshot";
const UNUSED: &str = "of one moment, as nobody used the volume";
const LIVE: &str = "not of one moment: files were read one by one while the volume was in use";

/// Backs up a volume: from a snapshot where the backend makes one at once, else in place.
pub(super) fn back_up(volumes: &Volumes, asked: Backup, told: Told<'_>) -> Result<Value> {
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("a backup")?;
    let about = volume.about();
    let backend = about.backend(volumes.root().path());
    let used = volumes.is_unused(&volume, &turn).is_err();
    if backend.copies_at_once() {
        let staged = volumes.root().stage()?;
        backend.duplicate(&about.folder, staged.path(), Copy::Volume, told)?;
        // From here on the volume itself is free for others.
        drop(turn);
        backend.mount(staged.path())?;
        let done = run(asked, &*backend, staged.path(), told);
        backend.unmount(staged.path())?;
        return done.map(|value| said(value, AT_ONCE));
    }
    is_still(volumes, &volume, &turn, true, asked.live)?;
    let done = in_place(&volume, &about, &*backend, asked, told);
    done.map(|value| said(value, if used { LIVE } else { UNUSED }))
}

fn in_place(
    volume: &Volume,
    about: &About,
    backend: &dyn Backend,
    asked: Backup,
    told: Told<'_>,
) -> Result<Value> {
    // Mounted for as long as it is read; for whoever has it, it stays.
    backend.mount(&about.folder)?;
    let done = run(asked, backend, &about.folder, told);
    if volume.held().is_free() {
        backend.unmount(&about.folder)?;
    }
    done
}

fn run(
    asked: Backup,
    backend: &dyn Backend,
    folder: &std::path::Path,
    told: Told<'_>,
) -> Result<Value> {
    let task = Task::Backup {
        from: backend.files(folder),
        name: asked.name,
        tags: asked.tags,
        init: asked.init,
    };
    with(asked.repository, task, told)
}

fn said(mut value: Value, consistency: &str) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("consistency".to_owned(), json!(consistency));
    }
    value
}

/// Makes a volume of a backup; it appears when all of it is there.
pub(super) fn restore(volumes: &Volumes, asked: Restore, told: Told<'_>) -> Result<Value> {
    let name = VolumeName::new(&asked.name)?;
    let mut restored = Value::Null;
    volumes.make(&name, &asked.options, |about, staged| {
        if about.options.read_only
            || !matches!(about.kind.name(), "directory" | "btrfs" | "quota" | "loop")
        {
            return Err(Error::Backend {
                backend: about.kind.name(),
                problem: "cannot be restored into".to_owned(),
            });
        }
        let backend = about.backend(volumes.root().path());
        backend.make(staged.path())?;
        backend.mount(staged.path())?;
        let task = Task::Restore {
            to: backend.files(staged.path()),
            at: asked.at.clone(),
            of: asked.of.clone(),
        };
        let done = with(asked.repository.clone(), task, told);
        backend.unmount(staged.path())?;
        restored = done?;
        Ok(())
    })?;
    Ok(restored)
}

pub(super) fn verify(asked: OfRepository, told: Told<'_>) -> Result<Value> {
    with(asked.repository, Task::Verify, told)
}

pub(super) fn list(asked: OfRepository, told: Told<'_>) -> Result<Value> {
    with(asked.repository, Task::List { of: asked.of }, told)
}

pub(super) fn forget(asked: Forget, told: Told<'_>) -> Result<Value> {
    let task = Task::Forget {
        of: asked.of,
        keep: asked.keep,
        within: asked.within,
        tags: asked.tags,
    };
    with(asked.repository, task, told)
}

fn with(access: Repository, task: Task, told: Told<'_>) -> Result<Value> {
    work::run(&Job::Repository { access, task }, None, told)
}
