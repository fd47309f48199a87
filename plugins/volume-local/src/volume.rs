//! One volume while the server runs: what it is, who holds it, and whose turn it is to change it.
//! `driver` keeps one for each; calls of one volume wait for each other here, and for nobody else's.
//! It must never keep who only asks: what is told of a volume is behind no lock that a mount holds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use wharfline_spec::VolumeName;

use crate::backend::{self, Backend};
use crate::error::{Error, Result};
use crate::held::Held;
use crate::options::{Kind, Options};
use crate::record::{self, Record};

/// How long a call waits for another's end. dockerd gives up after some thirty seconds.
const TURN_WITHIN: Duration = Duration::from_secs(20);
/// Name of the record.
pub(crate) const RECORD: &str = "volume.json";

/// What a volume is.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) name: VolumeName,
    pub(crate) folder: PathBuf,
    pub(crate) record: Record,
    pub(crate) options: Options,
    pub(crate) kind: Kind,
}

/// A volume.
pub(crate) struct Volume {
    about: RwLock<Arc<About>>,
    held: Mutex<Held>,
    turn: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    doing: Option<&'static str>,
    gone: bool,
}

/// Holding it, one may change the volume.
pub(crate) struct Turn<'a> {
    volume: &'a Volume,
}

impl About {
    /// Reads the volume in `folder`.
    ///
    /// # Errors
    /// Its record cannot be read, or is of options that this release does not know.
    pub(crate) fn read(name: &VolumeName, folder: PathBuf) -> Result<Self> {
        let record: Record = record::read(&folder.join(RECORD))?;
        Self::of(name, folder, record)
    }

    /// The volume that a record tells of.
    ///
    /// # Errors
    /// It is of options that this release does not know.
    pub(crate) fn of(name: &VolumeName, folder: PathBuf, record: Record) -> Result<Self> {
        let mut options = Options::parse(&record.options)?;
        if let Some(bytes) = record.resized {
            options.limits.bytes = Some(bytes);
        }
        let kind = match (&options.kind, record.backend.as_str()) {
            (Some(kind), _) => kind.clone(),
            (None, "btrfs") => Kind::Btrfs,
            (None, "quota") => Kind::Quota,
            (None, "loop") => Kind::Loop(crate::options::ImageFs::Ext4),
            (None, _) => Kind::Directory,
        };
        Ok(Self {
            name: name.clone(),
            folder,
            record,
            options,
            kind,
        })
    }

    /// What keeps it.
    pub(crate) fn backend(&self, root: &Path) -> Box<dyn Backend> {
        backend::of(&self.kind, &self.options, root)
    }

    /// Where it is or will be on the host.
    pub(crate) fn mountpoint(&self) -> String {
        self.folder
            .join(backend::DATA)
            .to_string_lossy()
            .into_owned()
    }
}

impl Volume {
    pub(crate) fn new(about: About, held: Held) -> Arc<Self> {
        Arc::new(Self {
            about: RwLock::new(Arc::new(about)),
            held: Mutex::new(held),
            turn: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// What it is, now.
    pub(crate) fn about(&self) -> Arc<About> {
        self.about.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Who holds it. To be dropped at once.
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until nobody else changes it.
    ///
    /// # Errors
    /// It takes too long, or the volume goes meanwhile.
    pub(crate) fn turn(&self, doing: &'static str) -> Result<Turn<'_>> {
        let deadline = Instant::now() + TURN_WITHIN;
        let mut state = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        while let Some(other) = state.doing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Busy {
                    name: self.about().name.clone(),
                    doing: other,
                });
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        if state.gone {
            return Err(Error::Unknown(self.about().name.clone()));
        }
        state.doing = Some(doing);
        Ok(Turn { volume: self })
    }
}

impl Turn<'_> {
    /// The volume is another now: another name, another size.
    pub(crate) fn becomes(&self, about: About) {
        *self.volume.about.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(about);
    }

    /// There is none any more.
    pub(crate) fn is_gone(&self) {
        self.volume
            .turn
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .gone = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.volume
            .turn
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .doing = None;
        self.volume.ended.notify_all();
    }
}
