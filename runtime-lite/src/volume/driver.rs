//! A driver of volumes, spoken to as dockerd does (docs.docker.com, "Docker volume plugins": Volume plugin protocol).
//! `volume` calls it; `plugin` carries what it says.
//! It must never wait for a driver without a deadline, nor activate one twice: a driver may forget its mounts then.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::home::{DRIVER_TIMEOUT, Home};
use crate::plugin::{Address, Refusal, exchange};

/// How long a driver may take to make or mount a volume, and for anything else: as with dockerd.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(60);

/// A driver.
#[derive(Debug)]
pub(super) struct Driver {
    name: String,
    address: Address,
}

impl Driver {
    /// Finds the driver called `name`, and introduces wharf to it if it is a new one.
    pub(super) fn find(home: &Home, name: &str) -> Result<Driver> {
        let driver = Driver {
            name: name.to_owned(),
            address: Address::find(name)?,
        };
        driver.activate(home)?;
        Ok(driver)
    }

    /// Once in the life of its socket: drivers are told by this call that nothing is mounted any more. The note of it is
    /// held while the driver is asked.
    fn activate(&self, home: &Home) -> Result<()> {
        let dir = home.run().join("drivers");
        std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
        let path = dir.join(&self.name);
        let failed = || Error::file("note the driver in", &path);
        let mut options = File::options();
        let note = options.read(true).write(true).create(true).truncate(false);
        let mut note = note.open(&path).map_err(failed())?;
        note.lock().map_err(failed())?;
        let mut known = String::new();
        note.read_to_string(&mut known).map_err(failed())?;
        let instance = self.address.instance()?;
        if known == instance {
            return Ok(());
        }
        let answer = self.call(&Call::to("Plugin.Activate", "activate it"), None)?;
        let implements = answer["Implements"].as_array().cloned().unwrap_or_default();
        if !implements.contains(&json!("VolumeDriver")) {
            return Err(Error::NotAVolumeDriver(self.name.clone()));
        }
        note.set_len(0)
            .and_then(|()| note.rewind())
            .and_then(|()| note.write_all(instance.as_bytes()))
            .map_err(failed())
    }

    /// Whether it has a volume. A refusal, in whatever words, says no.
    pub(super) fn has(&self, volume: &str) -> Result<bool> {
        let call = Call::of(volume, "VolumeDriver.Get", "ask for it");
        match self.ask(&call, Some(json!({"Name": volume}))) {
            Ok(answer) => Ok(!answer["Volume"].is_null()),
            Err(Refusal::Said(_)) => Ok(false),
            Err(refusal) => Err(self.failed(&call, refusal)),
        }
    }

    /// Has it make a volume.
    pub(super) fn make(&self, volume: &str, options: &BTreeMap<String, String>) -> Result<()> {
        let options = match options.is_empty() {
            true => Value::Null,
            false => json!(options),
        };
        let call = Call::of(volume, "VolumeDriver.Create", "make it").within(LONG);
        self.call(&call, Some(json!({"Name": volume, "Opts": options})))?;
        Ok(())
    }

    /// What it says of a volume: `Name`, `Mountpoint`, `Status`.
    pub(super) fn get(&self, volume: &str) -> Result<Value> {
        let call = Call::of(volume, "VolumeDriver.Get", "ask for it");
        let mut answer = self.call(&call, Some(json!({"Name": volume})))?;
        Ok(answer["Volume"].take())
    }

    /// Has it mount a volume for a container; where.
    pub(super) fn mount(&self, volume: &str, container: &str) -> Result<PathBuf> {
        let call = Call::of(volume, "VolumeDriver.Mount", "mount it").within(LONG);
        let answer = self.call(&call, Some(json!({"Name": volume, "ID": container})))?;
        let path = PathBuf::from(answer["Mountpoint"].as_str().unwrap_or_default());
        match path.is_absolute() && path.is_dir() {
            true => Ok(path),
            false => {
                let said = format!("its mountpoint {:?} is no folder here", path.display());
                Err(self.failed(&call, Refusal::Said(said)))
            }
        }
    }

    /// Where a volume is or would be mounted; nothing if it does not say.
    pub(super) fn path(&self, volume: &str) -> Result<String> {
        let call = Call::of(volume, "VolumeDriver.Path", "ask where it is");
        let answer = self.call(&call, Some(json!({"Name": volume})))?;
        Ok(answer["Mountpoint"].as_str().unwrap_or_default().to_owned())
    }

    /// Tells it that a container needs a volume no more.
    pub(super) fn unmount(&self, volume: &str, container: &str) -> Result<()> {
        let call = Call::of(volume, "VolumeDriver.Unmount", "unmount it");
        self.call(&call, Some(json!({"Name": volume, "ID": container})))?;
        Ok(())
    }

    /// Has it remove a volume.
    pub(super) fn remove(&self, volume: &str) -> Result<()> {
        let call = Call::of(volume, "VolumeDriver.Remove", "remove it");
        self.call(&call, Some(json!({"Name": volume})))?;
        Ok(())
    }

    /// All its volumes, by name.
    pub(super) fn list(&self) -> Result<Vec<String>> {
        let call = Call::to("VolumeDriver.List", "list its volumes");
        let answer = self.call(&call, Some(json!({})))?;
        let volumes = answer["Volumes"].as_array().cloned().unwrap_or_default();
        let names = volumes.iter().filter_map(|volume| volume["Name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn call(&self, call: &Call<'_>, body: Option<Value>) -> Result<Value> {
        self.ask(call, body)
            .map_err(|refusal| self.failed(call, refusal))
    }

    fn ask(&self, call: &Call<'_>, body: Option<Value>) -> std::result::Result<Value, Refusal> {
        let deadline = Instant::now() + patience(call.patience);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = exchange::post(&self.address, call.method, &body, deadline)?;
        match answer["Err"].as_str() {
            None | Some("") => Ok(answer),
            Some(said) => Err(Refusal::Said(said.to_owned())),
        }
    }

    fn failed(&self, call: &Call<'_>, refusal: Refusal) -> Error {
        let object = match call.volume {
            Some(volume) => format!("volume {volume}: "),
            None => String::new(),
        };
        Error::Driver {
            object,
            driver: self.name.clone(),
            doing: call.doing,
            answered: matches!(refusal, Refusal::Said(_)),
            said: refusal.told_of(&self.address),
        }
    }
}

/// `$WHARF_DRIVER_TIMEOUT`, in seconds, instead of `usual`.
fn patience(usual: Duration) -> Duration {
    let given = std::env::var(DRIVER_TIMEOUT).ok();
    let given = given.and_then(|seconds| seconds.parse().ok());
    given.map_or(usual, |seconds: u64| Duration::from_secs(seconds.max(1)))
}

struct Call<'a> {
    volume: Option<&'a str>,
    method: &'static str,
    doing: &'static str,
    patience: Duration,
}

impl<'a> Call<'a> {
    fn to(method: &'static str, doing: &'static str) -> Call<'a> {
        Call {
            volume: None,
            method,
            doing,
            patience: SHORT,
        }
    }

    fn of(volume: &'a str, method: &'static str, doing: &'static str) -> Call<'a> {
        Call {
            volume: Some(volume),
            ..Call::to(method, doing)
        }
    }

    fn within(self, patience: Duration) -> Call<'a> {
        Call { patience, ..self }
    }
}
