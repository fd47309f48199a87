//! A repository that is open: the one type that all operations start from.
//! volume-local's worker makes one per command.
//! It must never show rustic_core's types to its callers: that API moves.

use std::sync::Arc;

use rustic_core::{
    ConfigOptions, Credentials, KeyOptions, Repository as Rustic, RepositoryBackends,
    RepositoryOptions,
};

use crate::address::{Access, Address};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::local::Directory;
use crate::locks::Lock;
use crate::progress::{Bars, Progress, Silent};
use crate::rustic::Backend;
use crate::s3;
use crate::store::{Kind, Store};
use crate::trees::Indexed;

/// Packs of this size: small enough that a few of them in memory at once stay below the bound of docs/backup.md.
const PACK: &str = "8MiB";
const TREE_PACK: &str = "4MiB";

/// rustic_core's repository, of which password and config are known.
pub(crate) type Opened = Rustic<rustic_core::OpenStatus>;

/// A repository whose password was right.
#[derive(Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    key: Arc<Key>,
    opened: Opened,
}

impl Repository {
    /// Makes an empty repository.
    ///
    /// # Errors
    ///
    /// One is there already; the place can't be written.
    pub fn init(access: &Access) -> Result<Repository> {
        let store = store(access)?;
        if !store.list(Kind::Config)?.is_empty() {
            return Err(Error::Exists {
                repository: store.location(),
            });
        }
        remove_keys_of_none(&store)?;
        let mut config = ConfigOptions::default()
            .set_datapack_growfactor(0u32)
            .set_treepack_growfactor(0u32);
        // The type of a size is of a crate that nothing else here needs.
        config.set_datapack_size = PACK.parse().ok();
        config.set_treepack_size = TREE_PACK.parse().ok();
        let credentials = Credentials::password(access.password.reveal());
        let key = KeyOptions::default()
            .hostname(crate::locks::hostname())
            .with_created(true);
        let made = rustic(&store, Arc::new(Silent))?.init(&credentials, &key, &config);
        let opened = made.map_err(Error::rustic("initialise", &store.location()))?;
        Ok(Repository::of(store, opened))
    }

    /// Opens a repository.
    ///
    /// # Errors
    ///
    /// There is none at this address, it can't be reached, or the password is wrong.
    pub fn open(access: &Access) -> Result<Repository> {
        let store = store(access)?;
        if store.list(Kind::Config)?.is_empty() {
            return Err(Error::NoRepository {
                repository: store.location(),
            });
        }
        let opened = rustic(&store, Arc::new(Silent))?
            .open(&Credentials::password(access.password.reveal()));
        let opened = opened.map_err(Error::rustic("open", &store.location()))?;
        Ok(Repository::of(store, opened))
    }

    fn of(store: Arc<dyn Store>, opened: Opened) -> Repository {
        let key = Arc::new(Key::of(&opened.key()));
        Repository { store, key, opened }
    }

    /// Its address, without credentials.
    pub fn location(&self) -> String {
        self.store.location()
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The same repository, telling `progress`; opened by the key, which takes no time.
    pub(crate) fn telling(&self, progress: Arc<dyn Progress>) -> Result<Opened> {
        let opened =
            rustic(&self.store, progress)?.open(&Credentials::Masterkey(self.opened.key()));
        opened.map_err(Error::rustic("open", &self.location()))
    }

    /// The same with its whole index in memory.
    pub(crate) fn indexed(&self) -> Result<Indexed> {
        let indexed = self.telling(Arc::new(Silent))?.to_indexed();
        indexed.map_err(Error::rustic("read the index of", &self.location()))
    }

    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::take(&self.store, &self.key)
    }

    pub(crate) fn lock_to_read(&self) -> Result<Lock> {
        Lock::take_to_read(&self.store, &self.key)
    }
}

fn store(access: &Access) -> Result<Arc<dyn Store>> {
    match (&access.address, &access.keys) {
        (Address::Directory(path), _) => Ok(Arc::new(Directory::new(path))),
        (
            Address::S3 {
                endpoint,
                bucket,
                prefix,
            },
            Some(keys),
        ) => s3::open(endpoint, bucket, prefix, keys),
        (Address::S3 { .. }, None) => Err(Error::Address {
            given: access.address.to_string(),
            problem: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set".to_owned(),
        }),
    }
}

/// Whoever died while he made a repository has left a key to nothing, which fits the same password. Where there are files but
/// no config, somebody's repository is damaged, and stays as it is.
fn remove_keys_of_none(store: &Arc<dyn Store>) -> Result<()> {
    for kind in [Kind::Snapshot, Kind::Index, Kind::Pack] {
        if !store.list(kind)?.is_empty() {
            return Err(Error::Repository {
                doing: "initialise",
                repository: store.location(),
                problem: format!("it has files in {}/ but no config", kind.directory()),
            });
        }
    }
    for (key, _) in store.list(Kind::Key)? {
        store.remove(Kind::Key, &key)?;
    }
    Ok(())
}

fn rustic(store: &Arc<dyn Store>, progress: Arc<dyn Progress>) -> Result<Rustic<()>> {
    // No cache: it would be a copy of metadata in somebody's home.
    let options = RepositoryOptions::default().no_cache(true);
    let backends = RepositoryBackends::new(Arc::new(Backend(Arc::clone(store))), None);
    let made = Rustic::new_with_progress(&options, &backends, Bars(progress));
    made.map_err(Error::rustic("open", &store.location()))
}
