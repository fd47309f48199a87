//! Volumes of which a part has come from another host. They lie beside the others, and are none until all is there.
//! `operate/migrate.rs` makes and publishes them; `driver` keeps their names free and removes what is nobody's.
//! It must never let two processes fill one.
//!
//! ```text
//! ROOT/arriving/notes/NAME.json   what is to come, and how far it is
//!              /volumes/NAME/     as a volume's folder
//! ```

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wharfline_spec::VolumeName;
use wharfline_spec::docker::migration::{Arriving, Reached};

use crate::error::{Error, Result};
use crate::options::{Kind, Options};
use crate::record::{self, Record};
use crate::root::{self, Root};
use crate::volume::About;

/// The folder in a root.
const FOLDER: &str = "arriving";
/// How long whoever took over waits until the one before has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What is noted of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Arrival {
    version: u32,
    /// Which migration it is.
    pub(crate) id: String,
    /// The host that sends it.
    pub(crate) from: String,
    /// When its first byte came (RFC 3339).
    pub(crate) begun: String,
    /// About how many bytes it will have.
    pub(crate) total: u64,
    /// The record of the volume to be.
    pub(crate) record: Record,
    /// How far it is on the disk.
    pub(crate) reached: Reached,
    /// Where in the tree that is.
    pub(crate) place: Place,
}

/// A place in a tree between two frames. Names are bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The folders that have begun, outermost first.
    pub(crate) folders: Vec<Vec<u8>>,
    /// Name of the last entry of the innermost.
    pub(crate) last: Vec<u8>,
    /// It is a file that has begun; so many bytes of it are there.
    pub(crate) open: Option<u64>,
    /// All is there.
    pub(crate) whole: bool,
}

impl Arrival {
    pub(crate) fn new(id: &str, from: &str, record: Record) -> Self {
        Self {
            version: 1,
            id: id.to_owned(),
            from: from.to_owned(),
            begun: record::now(),
            total: 0,
            record,
            reached: Reached::default(),
            place: Place::default(),
        }
    }

    /// The volume to be, as it is filled: whoever may not write it later, may now.
    ///
    /// # Errors
    /// Its options are none that this release knows.
    pub(crate) fn about(&self, name: &VolumeName, folder: PathBuf) -> Result<About> {
        let mut about = About::of(name, folder, self.record.clone())?;
        about.options.read_only = false;
        Ok(about)
    }
}

/// Those of a root.
#[derive(Debug)]
pub(crate) struct Arrivals {
    folder: PathBuf,
    /// Whoever fills one hears by it that another has taken over.
    active: Mutex<HashMap<VolumeName, Arc<AtomicBool>>>,
    ended: Condvar,
}

/// Holding it, one may fill, publish or remove an arrival.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    all: &'a Arrivals,
    name: VolumeName,
    superseded: Arc<AtomicBool>,
}

impl Arrivals {
    /// Those in `root`.
    pub(crate) fn of(root: &Root) -> Self {
        Self {
            folder: root.path().join(FOLDER),
            active: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// Takes away what has lost its note or its folder, and drafts of notes; what is to be deleted then.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn clear(&self, root: &Root) -> Result<Vec<PathBuf>> {
        for note in entries(&self.notes())? {
            // Held: whoever begins one has a note first, and then a folder.
            let Some(_hold) = self.hold_of(note.file_stem()) else {
                continue;
            };
            let is_note = note.extension().is_some_and(|kind| kind == "json");
            let name = note.file_stem().unwrap_or_default();
            if !is_note || !self.volumes().join(name).is_dir() {
                fs::remove_file(&note).map_err(Error::file("remove", note))?;
            }
        }
        let mut trash = Vec::new();
        for folder in entries(&self.volumes())? {
            let Some(_hold) = self.hold_of(folder.file_name()) else {
                continue;
            };
            let name = folder.file_name().unwrap_or_default();
            if !with_json(self.notes().join(name)).is_file() {
                trash.push(root.discard(&folder)?);
            }
        }
        Ok(trash)
    }

    fn hold_of(&self, name: Option<&OsStr>) -> Option<Hold<'_>> {
        let name = VolumeName::new(name?.to_str()?).ok()?;
        self.hold(&name).ok()
    }

    fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }

    fn volumes(&self) -> PathBuf {
        self.folder.join("volumes")
    }

    /// Makes the folders that a first arrival needs.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn prepare(&self) -> Result<()> {
        for folder in [self.folder.clone(), self.notes(), self.volumes()] {
            match root::make(&folder) {
                Err(cause) if cause.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::file("make", &folder)(cause));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where the volume `name` is while it comes.
    pub(crate) fn place(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }

    /// Where it is noted how far it is.
    pub(crate) fn note(&self, name: &VolumeName) -> PathBuf {
        with_json(self.notes().join(name.as_str()))
    }

    /// What is noted of `name`; none where nothing of it has come.
    ///
    /// # Errors
    /// A note that cannot be read.
    pub(crate) fn find(&self, name: &VolumeName) -> Result<Option<Arrival>> {
        match record::read(&self.note(name)) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All, by name.
    pub(crate) fn every(&self) -> Vec<(VolumeName, Arrival)> {
        let names = root::names_in(&self.volumes()).unwrap_or_default();
        let all = names.into_iter().filter_map(|name| {
            let arrival = self.find(&name).ok()??;
            Some((name, arrival))
        });
        all.collect()
    }

    /// As people are shown it.
    pub(crate) fn shown(&self) -> Vec<Arriving> {
        let active = self.active.lock().unwrap_or_else(|e| e.into_inner());
        let one = |(name, arrival): (VolumeName, Arrival)| Arriving {
            name: name.to_string(),
            backend: arrival.record.backend,
            from: arrival.from,
            begun: arrival.begun,
            bytes: arrival.reached.bytes,
            total: arrival.total,
            active: active.contains_key(&name),
        };
        self.every().into_iter().map(one).collect()
    }

    /// Takes `name`, if nobody has it.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(crate) fn hold(&self, name: &VolumeName) -> Result<Hold<'_>> {
        let mut active = self.active.lock().unwrap_or_else(|e| e.into_inner());
        if active.contains_key(name) {
            return Err(Error::Busy {
                name: name.clone(),
                doing: "its arrival",
            });
        }
        let superseded = Arc::new(AtomicBool::new(false));
        active.insert(name.clone(), Arc::clone(&superseded));
        Ok(Hold {
            all: self,
            name: name.clone(),
            superseded,
        })
    }

    /// Takes `name` from whoever has it: the other side is here again, so that connection is dead.
    ///
    /// # Errors
    /// [`Error::Busy`]: he does not end.
    pub(crate) fn take_over(&self, name: &VolumeName) -> Result<Hold<'_>> {
        let deadline = Instant::now() + ENDS_WITHIN;
        let mut active = self.active.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(other) = active.get(name) {
            other.store(true, Ordering::Relaxed);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.ended.wait_timeout(active, left);
            active = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        drop(active);
        self.hold(name)
    }
}

impl Hold<'_> {
    /// Whether another has taken over.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// Removes what has come; what is to be deleted then.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn abandon(&self, root: &Root) -> Result<Option<PathBuf>> {
        let folder = self.all.place(&self.name);
        let trash = match folder.exists() {
            true => Some(root.discard(&folder)?),
            false => None,
        };
        self.forget()?;
        Ok(trash)
    }

    /// Removes the note alone: the folder is a volume now, or gone.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn forget(&self) -> Result<()> {
        let note = self.all.note(&self.name);
        match fs::remove_file(&note) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                Err(Error::file("remove", note)(cause))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut active = self.all.active.lock().unwrap_or_else(|e| e.into_inner());
        active.remove(&self.name);
        self.all.ended.notify_all();
    }
}

/// A name may have a dot in it.
fn with_json(path: PathBuf) -> PathBuf {
    let mut path = path.into_os_string();
    path.push(".json");
    PathBuf::from(path)
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", folder))?,
    };
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The kind that keeps a volume of these options; that of a new one is chosen here.
///
/// # Errors
/// One that cannot be filled by others than its user.
pub(crate) fn filled_by(options: &BTreeMap<String, String>, root: &Path) -> Result<Kind> {
    let options = Options::parse(options)?;
    let kind = match options.kind {
        Some(kind) => kind,
        None => crate::backend::choose(options.limits, root)?,
    };
    match kind.name() {
        "directory" | "btrfs" | "quota" | "loop" => Ok(kind),
        backend => Err(Error::Backend {
            backend,
            problem: "cannot be filled: choose another by -o type=".to_owned(),
        }),
    }
}
