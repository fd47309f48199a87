//! The driver: Docker's calls about volumes, on a root.
//! `main` serves it; `operate` adds what Docker's protocol lacks.
//! It must never answer Get or List by asking a file system anything: both are told from memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use wharfline_docker::{Gauge, Refusal, VolumeDriver, Work};
use wharfline_spec::VolumeName;
use wharfline_spec::docker::volume::{self as wire, Create, OfUser, OfVolume};

use crate::arrivals::Arrivals;
use crate::backend;
use crate::error::{Error, Result};
use crate::held::{Held, Register};
use crate::options::{Options, without_secrets};
use crate::record::{self, Record};
use crate::root::{self, Root, Staged};
use crate::sweep::Sweeper;
use crate::users;
use crate::volume::{About, RECORD, Turn, Volume};
use crate::work;

/// How long `rm` waits until the files are deleted, and not only out of sight.
const DELETE_WITHIN: Duration = Duration::from_secs(5);

/// All volumes of a root.
#[derive(Clone)]
pub(crate) struct Volumes(Arc<Inner>);

struct Inner {
    root: Root,
    register: Register,
    all: RwLock<BTreeMap<VolumeName, Arc<Volume>>>,
    sweeper: Sweeper,
    arrivals: Arrivals,
}

impl Volumes {
    /// Those at `path`. What an earlier life left half done is taken away, its mounts without a user are unmounted.
    ///
    /// # Errors
    /// The root cannot be had. A volume that cannot be read is left out, with a line in the log.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = Root::open(path)?;
        let register = Register::of(root.path())?;
        let mut held = register.all()?;
        let mut all = BTreeMap::new();
        for name in root.names()? {
            match About::read(&name, root.of(&name)) {
                Ok(about) => {
                    let held = held.remove(&name).unwrap_or_default();
                    all.insert(name, Volume::new(about, held));
                }
                Err(e) => tracing::warn!("volume {name} is left out: {e}"),
            }
        }
        let inner = Inner {
            arrivals: Arrivals::of(&root),
            root,
            register,
            all: RwLock::new(all),
            sweeper: Sweeper::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Begins what a start has to do beside answering: to be called once, and it returns at once.
    pub(crate) fn settle(&self) {
        let volumes = self.clone();
        let started = std::thread::Builder::new()
            .name("settle".to_owned())
            .spawn(move || {
                volumes.clear();
                volumes.0.sweeper.run(|| volumes.sweep());
            });
        if let Err(e) = started {
            tracing::warn!("start a thread: {e}");
        }
    }

    /// Deletes what was half made or half deleted, and unmounts what nobody has.
    pub(crate) fn clear(&self) {
        work::thaw_all(self.0.root.path());
        self.0
            .root
            .clear()
            .iter()
            .for_each(|e| tracing::warn!("{e}"));
        self.clear_arrivals();
        for volume in self.every() {
            let about = volume.about();
            let data = about.folder.join(backend::DATA);
            if matches!(backend::is_mounted(&data), Ok(true))
                && let Ok(_turn) = volume.turn("start")
                && volume.held().is_free()
                && !matches!(users::has_any(&about.folder), Ok(true))
                && let Err(e) = about.backend(self.0.root.path()).unmount(&about.folder)
            {
                tracing::warn!("{e}");
            }
        }
    }

    /// Takes away what came by halves and can't go on, and unmounts the rest.
    fn clear_arrivals(&self) {
        let arrivals = &self.0.arrivals;
        match arrivals.clear(&self.0.root) {
            Ok(trash) => trash
                .iter()
                .filter_map(|path| root::delete(path).err())
                .for_each(|e| tracing::warn!("{e}")),
            Err(e) => tracing::warn!("{e}"),
        }
        for (name, arrival) in arrivals.every() {
            // What is coming again already is somebody's.
            let Ok(_hold) = arrivals.hold(&name) else {
                continue;
            };
            let about = arrival.about(&name, arrivals.place(&name));
            let unmounted =
                about.and_then(|about| about.backend(self.0.root.path()).unmount(&about.folder));
            if let Err(e) = unmounted {
                tracing::warn!("{e}");
            }
        }
    }

    /// Asks the kernel about those of whom we are not sure; whether there are still any.
    pub(crate) fn sweep(&self) -> bool {
        let mut left = false;
        for volume in self.every() {
            if !volume.held().has_unconfirmed() {
                continue;
            }
            let swept = volume
                .turn("sweep")
                .and_then(|turn| self.drop_doubtful(&volume, &turn));
            match swept {
                Ok(()) => left |= volume.held().has_unconfirmed(),
                Err(e) => tracing::warn!("{e}"),
            }
        }
        left
    }

    /// Nobody has the volume mounted: then nobody of whom we were not sure is there, and the last one's end is made up for.
    fn drop_doubtful(&self, volume: &Volume, _turn: &Turn<'_>) -> Result<()> {
        let about = volume.about();
        if !volume.held().has_unconfirmed() || users::has_any(&about.folder)? {
            return Ok(());
        }
        volume.held().drop_doubted(Instant::now());
        if volume.held().is_free() {
            let backend = about.backend(self.0.root.path());
            backend.unmount(&about.folder)?;
        }
        self.0.register.note(&about.name, &volume.held())
    }

    pub(crate) fn root(&self) -> &Root {
        &self.0.root
    }

    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.0.arrivals
    }

    /// Whether `name` is free: no volume has it, and none is coming that is to have it.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Arriving`].
    pub(crate) fn is_free(&self, name: &VolumeName) -> Result<()> {
        if self.find(name.as_str()).is_ok() {
            return Err(Error::Taken(name.clone()));
        }
        match self.0.arrivals.find(name)? {
            Some(arrival) => Err(Error::Arriving {
                name: name.clone(),
                from: arrival.from,
            }),
            None => Ok(()),
        }
    }

    /// All, by name.
    pub(crate) fn every(&self) -> Vec<Arc<Volume>> {
        let all = self.0.all.read().unwrap_or_else(|e| e.into_inner());
        all.values().cloned().collect()
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// No name, or no volume of it.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Volume>> {
        let name = VolumeName::new(name)?;
        let all = self.0.all.read().unwrap_or_else(|e| e.into_inner());
        all.get(&name).cloned().ok_or(Error::Unknown(name))
    }

    /// Lets a volume be known by `name` and no longer by `old`.
    pub(crate) fn known_as(&self, old: Option<&VolumeName>, name: VolumeName, volume: Arc<Volume>) {
        let mut all = self.0.all.write().unwrap_or_else(|e| e.into_inner());
        if let Some(old) = old {
            all.remove(old);
        }
        all.insert(name, volume);
    }

    /// Makes a volume of `given` options and has `fill` fill it before anybody sees it.
    ///
    /// # Errors
    /// [`Error::Taken`]; what `fill` says. Nothing is left of it then.
    pub(crate) fn make(
        &self,
        name: &VolumeName,
        given: &BTreeMap<String, String>,
        fill: impl FnOnce(&About, &Staged<'_>) -> Result<()>,
    ) -> Result<()> {
        self.is_free(name)?;
        let options = Options::parse(given)?;
        let kind = match &options.kind {
            Some(kind) => kind.clone(),
            None => backend::choose(options.limits, self.0.root.path())?,
        };
        let record = Record::new(kind.name(), given);
        let folder = self.0.root.of(name);
        let about = About {
            name: name.clone(),
            folder,
            record,
            options,
            kind,
        };
        self.make_of(about, fill)
    }

    /// The same of a description.
    pub(crate) fn make_of(
        &self,
        about: About,
        fill: impl FnOnce(&About, &Staged<'_>) -> Result<()>,
    ) -> Result<()> {
        let staged = self.0.root.stage()?;
        fill(&about, &staged)?;
        record::write_new(&staged.path().join(RECORD), &about.record)?;
        if !staged.publish(&about.folder)? {
            return Err(Error::Taken(about.name));
        }
        self.known_as(
            None,
            about.name.clone(),
            Volume::new(about, Held::default()),
        );
        Ok(())
    }

    fn create_volume(&self, asked: &Create) -> Result<()> {
        let name = VolumeName::new(&asked.name)?;
        // Refused as well where the volume is there already.
        let wanted = Options::parse(&asked.opts)?;
        let made = self.make(&name, &asked.opts, |about, staged| {
            about.backend(self.0.root.path()).make(staged.path())
        });
        match made {
            Err(Error::Taken(name)) => self.is_as_asked(&name, &asked.opts, &wanted),
            other => other,
        }
    }

    /// The same volume may be asked for twice; another under its name may not.
    fn is_as_asked(
        &self,
        name: &VolumeName,
        asked: &BTreeMap<String, String>,
        wanted: &Options,
    ) -> Result<()> {
        // A folder whose record nobody can read has the name, too.
        let volume = self
            .find(name.as_str())
            .map_err(|_| Error::Taken(name.clone()))?;
        let about = volume.about();
        if asked.is_empty() || *wanted == about.options || *asked == about.record.options {
            return Ok(());
        }
        let keys = asked.keys().chain(about.record.options.keys());
        let differs = |key: &&String| asked.get(*key) != about.record.options.get(*key);
        let key = keys.into_iter().find(differs).cloned().unwrap_or_default();
        Err(Error::Different {
            name: name.clone(),
            key,
        })
    }

    fn mount_for(&self, of: &OfUser) -> Result<String> {
        let volume = self.find(&of.name)?;
        let turn = volume.turn("a mount")?;
        let about = volume.about();
        if about.options.single_writer && volume.held().is_anothers(&of.id) {
            self.drop_doubtful(&volume, &turn)?;
            if volume.held().is_anothers(&of.id) {
                return Err(Error::InUse {
                    name: about.name.clone(),
                    users: volume.held().ids(),
                });
            }
        }
        // Noted first: a killed plugin leaves a note of what may be mounted, never a mount without a note.
        volume.held().add(&of.id);
        let mounted = self
            .0
            .register
            .note(&about.name, &volume.held())
            .and_then(|()| about.backend(self.0.root.path()).mount(&about.folder));
        if let Err(error) = mounted {
            volume.held().take(&of.id);
            self.0.register.note(&about.name, &volume.held())?;
            return Err(error);
        }
        Ok(about.mountpoint())
    }

    fn unmount_for(&self, of: &OfUser) -> Result<()> {
        let volume = match self.find(&of.name) {
            Err(Error::Unknown(_)) => return Ok(()),
            other => other?,
        };
        let turn = volume.turn("an unmount")?;
        if !volume.held().take(&of.id) {
            return Ok(());
        }
        let about = volume.about();
        if !volume.held().is_confirmed() {
            self.drop_doubtful(&volume, &turn)?;
        }
        if volume.held().is_free() {
            about.backend(self.0.root.path()).unmount(&about.folder)?;
        }
        self.0.register.note(&about.name, &volume.held())
    }

    /// Whether nobody has the volume, by our own count and by the kernel's.
    ///
    /// # Errors
    /// [`Error::InUse`].
    pub(crate) fn is_unused(&self, volume: &Volume, turn: &Turn<'_>) -> Result<()> {
        self.drop_doubtful(volume, turn)?;
        let about = volume.about();
        let users = volume.held().ids();
        if !users.is_empty() {
            return Err(Error::InUse {
                name: about.name.clone(),
                users,
            });
        }
        let backend = about.backend(self.0.root.path());
        if users::has_any(&about.folder)? || backend.is_elsewhere(&about.folder)? {
            let users = vec!["a process that has it mounted".to_owned()];
            return Err(Error::InUse {
                name: about.name.clone(),
                users,
            });
        }
        Ok(())
    }

    pub(crate) fn remove_volume(&self, name: &str) -> Result<()> {
        let volume = match self.find(name) {
            Err(Error::Unknown(_)) => return Ok(()),
            other => other?,
        };
        let turn = volume.turn("a removal")?;
        self.is_unused(&volume, &turn)?;
        let trash = self.take_away(&volume, &turn)?;
        drop(turn);
        delete_soon(trash);
        Ok(())
    }

    /// Takes a volume that nobody uses out of sight; what is to be deleted then.
    pub(crate) fn take_away(&self, volume: &Volume, turn: &Turn<'_>) -> Result<std::path::PathBuf> {
        let about = volume.about();
        about.backend(self.0.root.path()).unmount(&about.folder)?;
        let trash = self.0.root.discard(&about.folder)?;
        turn.is_gone();
        self.0
            .all
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .remove(&about.name);
        self.0.register.forget(&about.name)?;
        Ok(trash)
    }
}

/// Deletes what nobody sees any more. Millions of files take longer than dockerd waits: they go on by themselves.
pub(crate) fn delete_soon(trash: std::path::PathBuf) {
    let (done, deleted) = std::sync::mpsc::channel();
    let deletion = std::thread::Builder::new()
        .name("delete".to_owned())
        .spawn(move || {
            if let Err(e) = root::delete(&trash) {
                tracing::warn!("{e}");
            }
            let _ = done.send(());
        });
    match deletion {
        Ok(_) => drop(deleted.recv_timeout(DELETE_WITHIN)),
        // The next start does it.
        Err(e) => tracing::warn!("start a thread: {e}"),
    }
}

/// What Docker's users see of a volume.
fn shown(about: &About) -> wire::Volume {
    let mut status = Map::new();
    status.insert("backend".to_owned(), json!(about.kind.name()));
    if let Some(bytes) = about.options.limits.bytes {
        status.insert("size".to_owned(), json!(bytes));
    }
    if !about.options.labels.is_empty() {
        status.insert("labels".to_owned(), json!(about.options.labels));
    }
    let options = without_secrets(&about.record.options);
    if !options.is_empty() {
        status.insert("options".to_owned(), Value::from_iter(options));
    }
    wire::Volume {
        name: about.name.to_string(),
        mountpoint: about.mountpoint(),
        created_at: about.record.created.clone(),
        status,
    }
}

impl VolumeDriver for Volumes {
    fn activated(&self) {
        self.every().iter().for_each(|volume| volume.held().doubt());
        self.0.sweeper.wake();
    }

    fn create(&self, asked: &Create) -> std::result::Result<(), Refusal> {
        Ok(self.create_volume(asked)?)
    }

    fn get(&self, of: &OfVolume) -> std::result::Result<wire::Volume, Refusal> {
        Ok(self.find(&of.name).map(|volume| shown(&volume.about()))?)
    }

    fn list(&self) -> std::result::Result<Vec<wire::Volume>, Refusal> {
        Ok(self
            .every()
            .iter()
            .map(|volume| shown(&volume.about()))
            .collect())
    }

    fn path(&self, of: &OfVolume) -> std::result::Result<String, Refusal> {
        Ok(self.find(&of.name)?.about().mountpoint())
    }

    fn mount(&self, of: &OfUser) -> std::result::Result<String, Refusal> {
        Ok(self.mount_for(of)?)
    }

    fn unmount(&self, of: &OfUser) -> std::result::Result<(), Refusal> {
        Ok(self.unmount_for(of)?)
    }

    fn remove(&self, of: &OfVolume) -> std::result::Result<(), Refusal> {
        Ok(self.remove_volume(&of.name)?)
    }

    fn gauges(&self) -> Vec<Gauge> {
        crate::measured::gauges(self)
    }

    fn operate(
        &self,
        operation: &str,
        body: &[u8],
    ) -> Option<std::result::Result<Vec<u8>, Refusal>> {
        crate::operate::quick(self, operation, body)
    }

    fn work(&self, operation: &str) -> Option<Work> {
        crate::operate::long(self, operation)
    }
}
