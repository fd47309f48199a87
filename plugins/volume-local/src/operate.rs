//! What Docker's protocol lacks: operations by the paths that crates/spec names, quick ones and such as take time.
//! `driver` hands them what it does not know itself.
//! It must never change a volume that somebody uses in a way that he would notice.

mod backup;
mod copy;
mod migrate;
mod show;

use std::fs;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wharfline_docker::{Gone, Refusal, Work};
use wharfline_kernel::fs::beneath;
use wharfline_spec::VolumeName;
use wharfline_spec::docker::migration;
use wharfline_spec::docker::volume::{
    Archive, Backup, Event, Forget, ListAsked, OfRepository, OfSnapshot, OfVolume, OldNew,
    Progress, Prune, Resize, Restore,
};

use crate::driver::{Volumes, delete_soon};
use crate::error::{Error, Result};
use crate::options;
use crate::record;
use crate::volume::{RECORD, Volume};
use crate::work::Told;

/// Does a quick operation; none if there is none of that name.
pub(crate) fn quick(
    volumes: &Volumes,
    operation: &str,
    body: &[u8],
) -> Option<std::result::Result<Vec<u8>, Refusal>> {
    let done = |(): ()| json!({});
    Some(match operation {
        "List" => with(body, |asked: ListAsked| show::list(volumes, &asked)),
        "Prune" => with(body, |asked: Prune| show::prune(volumes, &asked)),
        "Rename" => with(body, |asked: OldNew| rename(volumes, &asked).map(done)),
        "Resize" => with(body, |asked: Resize| resize(volumes, &asked).map(done)),
        "Abandon" => with(body, |asked: OfVolume| {
            migrate::abandon(volumes, &asked).map(done)
        }),
        "RemoveSnapshot" => with(body, |asked: OfSnapshot| {
            remove_snapshot(volumes, &asked).map(done)
        }),
        _ => return None,
    })
}

/// The work behind an operation that takes time; none if there is none of that name.
pub(crate) fn long(volumes: &Volumes, operation: &str) -> Option<Work> {
    let volumes = volumes.clone();
    Some(match operation {
        "Snapshot" => {
            telling(move |asked: OfSnapshot, told| copy::snapshot(&volumes, &asked, told))
        }
        "Rollback" => {
            telling(move |asked: OfSnapshot, told| copy::rollback(&volumes, &asked, told))
        }
        "Clone" => telling(move |asked: OldNew, told| copy::clone(&volumes, &asked, told)),
        "Export" => telling(move |asked: Archive, told| copy::export(&volumes, &asked, told)),
        "Import" => telling(move |asked: Archive, told| copy::import(&volumes, &asked, told)),
        "Backup" => telling(move |asked: Backup, told| backup::back_up(&volumes, asked, told)),
        "Restore" => telling(move |asked: Restore, told| backup::restore(&volumes, asked, told)),
        "Verify" => telling(|asked: OfRepository, told| backup::verify(asked, told)),
        "Backups" => telling(|asked: OfRepository, told| backup::list(asked, told)),
        "Send" => {
            telling(move |asked: migration::Send, told| migrate::send(&volumes, &asked, told))
        }
        "Receive" => {
            telling(move |asked: migration::Receive, told| migrate::receive(&volumes, &asked, told))
        }
        "Forget" => telling(|asked: Forget, told| backup::forget(asked, told)),
        _ => return None,
    })
}

fn with<A: DeserializeOwned, T: Serialize>(
    body: &[u8],
    operation: impl FnOnce(A) -> Result<T>,
) -> std::result::Result<Vec<u8>, Refusal> {
    let asked = serde_json::from_slice(body)
        .map_err(|e| Refusal::malformed(format!("the request's body cannot be read: {e}")))?;
    let answer = operation(asked)?;
    serde_json::to_vec(&answer)
        .map_err(|e| Refusal::new(format!("the answer cannot be written: {e}")))
}

fn telling<A: DeserializeOwned>(
    operation: impl FnOnce(A, Told<'_>) -> Result<Value> + Send + 'static,
) -> Work {
    Box::new(
        move |body: &[u8], out: &mut dyn FnMut(Vec<u8>) -> std::result::Result<(), Gone>| {
            let asked = serde_json::from_slice(body).map_err(|e| {
                Refusal::malformed(format!("the request's body cannot be read: {e}"))
            })?;
            let mut begun = false;
            let mut told = |progress: Progress| {
                begun = true;
                out(line(&Event::Progress(progress))).map_err(|Gone| Error::Gone)
            };
            match operation(asked, &mut told) {
                Ok(value) => Ok(line(&Event::Done(value))),
                Err(error) if begun => Ok(line(&Event::Failed(error.to_string()))),
                Err(error) => Err(error.into()),
            }
        },
    )
}

fn line(event: &Event) -> Vec<u8> {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The volume under another name. Docker knows its old name by itself, so nobody may have it.
fn rename(volumes: &Volumes, asked: &OldNew) -> Result<()> {
    let new = VolumeName::new(&asked.new)?;
    let volume = volumes.find(&asked.name)?;
    volumes.is_free(&new)?;
    let turn = volume.turn("a renaming")?;
    volumes.is_unused(&volume, &turn)?;
    let mut about = (*volume.about()).clone();
    about
        .backend(volumes.root().path())
        .unmount(&about.folder)?;
    let folder = volumes.root().of(&new);
    match beneath::rename_new(&about.folder, &folder) {
        Err(refused) if refused.is_present() => return Err(Error::Taken(new)),
        other => other?,
    }
    let old = std::mem::replace(&mut about.name, new.clone());
    about.folder = folder;
    let parent = volumes.root().path().join("volumes");
    record::sync_folder(&parent).map_err(Error::file("sync", parent))?;
    turn.becomes(about);
    volumes.known_as(Some(&old), new, Arc::clone(&volume));
    Ok(())
}

/// A larger volume, at once, also while it is used.
fn resize(volumes: &Volumes, asked: &Resize) -> Result<()> {
    let bytes = options::size("size", &asked.size)?;
    let volume = volumes.find(&asked.name)?;
    let turn = volume.turn("a resizing")?;
    let mut about = (*volume.about()).clone();
    let now = about.options.limits.bytes.unwrap_or(0);
    if bytes < now {
        return Err(Error::option(
            "size",
            format!("is less than the {now} bytes of now: volumes only grow"),
        ));
    }
    let before = about.record.clone();
    about.record.resized = Some(bytes);
    // Noted first: whoever mounts it after a crash lets it grow.
    record::write(&about.folder.join(RECORD), &about.record)?;
    if let Err(refused) = about
        .backend(volumes.root().path())
        .grow(&about.folder, bytes)
    {
        record::write(&about.folder.join(RECORD), &before)?;
        return Err(refused);
    }
    about.options.limits.bytes = Some(bytes);
    turn.becomes(about);
    Ok(())
}

fn remove_snapshot(volumes: &Volumes, asked: &OfSnapshot) -> Result<()> {
    let volume = volumes.find(&asked.name)?;
    let _turn = volume.turn("the removal of a snapshot")?;
    let path = snapshot_folder(&volume, &asked.snapshot)?;
    delete_soon(volumes.root().discard(&path)?);
    Ok(())
}

/// The folder of a snapshot that there is.
fn snapshot_folder(volume: &Volume, name: &str) -> Result<std::path::PathBuf> {
    let name = VolumeName::new(name)?;
    let about = volume.about();
    let path = about.folder.join("snapshots").join(name.as_str());
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(path),
        Err(_) => Err(Error::Snapshot {
            volume: about.name.clone(),
            snapshot: name,
            problem: "there is no such snapshot",
        }),
    }
}
