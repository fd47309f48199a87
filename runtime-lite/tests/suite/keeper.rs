//! A driver of volumes for tests: real folders in a lab, mounts counted by id as its protocol says, every call noted.
//! `drivers` and `crash` talk to it through wharf, by a socket of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::Host;

/// Where its folders are, in the lab.
const FOLDERS: &str = "/var/lib/rootfs/keeper";

/// A volume.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kept {
    pub(crate) options: Value,
    /// Who has it mounted.
    pub(crate) ids: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<String, Kept>,
    calls: Vec<String>,
    /// Methods that are refused, and with which words.
    refused: BTreeMap<String, String>,
    /// Methods that get no answer.
    hanging: BTreeSet<String>,
    over: bool,
}

/// The driver, which ends when this is dropped.
pub(crate) struct Keeper {
    state: Arc<(Mutex<State>, Condvar)>,
    folders: PathBuf,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Listens at `socket`, a path in the lab.
    pub(crate) fn at(host: &Host, socket: &str) -> Keeper {
        let socket = host.lab.path(socket);
        let folders = host.lab.path(FOLDERS);
        fs::create_dir_all(&folders).expect("a folder");
        let mut keeper = Keeper {
            state: Arc::default(),
            folders,
            socket,
            thread: None,
        };
        keeper.listen();
        keeper
    }

    /// The driver called `name`, at the first place where it is looked for.
    pub(crate) fn named(host: &Host, name: &str) -> Keeper {
        Keeper::at(host, &format!("/run/docker/plugins/{name}.sock"))
    }

    fn listen(&mut self) {
        fs::create_dir_all(self.socket.parent().expect("a parent")).expect("a folder");
        let _ = fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("a socket");
        let (state, folders) = (Arc::clone(&self.state), self.folders.clone());
        self.thread = Some(std::thread::spawn(move || {
            serve(&listener, &state, &folders)
        }));
    }

    /// Ends it; its socket stays, as that of a daemon that was killed.
    pub(crate) fn die(&mut self) {
        self.state().over = true;
        self.state.1.notify_all();
        // Whoever accepts has to wake up.
        drop(UnixStream::connect(&self.socket));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the driver");
        }
    }

    /// Starts it again with what it has on its disk.
    pub(crate) fn revive(&mut self) {
        self.state().over = false;
        self.listen();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("the state")
    }

    pub(crate) fn volumes(&self) -> BTreeMap<String, Kept> {
        self.state().volumes.clone()
    }

    /// How many mounts it counts in all.
    pub(crate) fn mounted(&self) -> usize {
        let state = self.state();
        state.volumes.values().map(|kept| kept.ids.len()).sum()
    }

    /// What it was asked since the last time, without the asking whether a volume is there.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.state().calls);
        calls.into_iter().filter(|call| call != "Get").collect()
    }

    pub(crate) fn folder(&self, volume: &str) -> PathBuf {
        self.folders.join(volume)
    }

    /// Has a method refused with these words; with none, no more.
    pub(crate) fn refuse(&self, method: &str, words: Option<&str>) {
        match words {
            Some(words) => drop(
                self.state()
                    .refused
                    .insert(method.to_owned(), words.to_owned()),
            ),
            None => drop(self.state().refused.remove(method)),
        }
    }

    /// Has a method never answered, or answered again.
    pub(crate) fn hang(&self, method: &str, hangs: bool) {
        match hangs {
            true => drop(self.state().hanging.insert(method.to_owned())),
            false => drop(self.state().hanging.remove(method)),
        }
        self.state.1.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.die();
        }
    }
}

fn serve(listener: &UnixListener, state: &Arc<(Mutex<State>, Condvar)>, folders: &std::path::Path) {
    for stream in listener.incoming() {
        if state.0.lock().expect("the state").over {
            return;
        }
        let (state, folders) = (Arc::clone(state), folders.to_owned());
        let stream = stream.expect("a caller");
        // One that is killed in the middle of its call is no fault of ours.
        std::thread::spawn(move || drop(answer(stream, &state, &folders)));
    }
}

fn answer(
    stream: UnixStream,
    state: &(Mutex<State>, Condvar),
    folders: &std::path::Path,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => {
                length = value.parse().expect("a length");
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let method = path.rsplit(['.', '/']).next().unwrap_or_default();
    let (status, answer) = {
        let mut locked = state.0.lock().expect("the state");
        locked.calls.push(method.to_owned());
        locked = state
            .1
            .wait_while(locked, |state| {
                state.hanging.contains(method) && !state.over
            })
            .expect("the state");
        let refused = locked.refused.get(method).cloned();
        match refused.map_or_else(|| locked.obey(method, &body, folders), Err) {
            Ok(answer) => (200, answer),
            Err(words) => (500, json!({"Err": words})),
        }
    };
    let text = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    (&stream).write_all(format!("{head}{text}").as_bytes())
}

impl State {
    fn obey(
        &mut self,
        method: &str,
        body: &Value,
        folders: &std::path::Path,
    ) -> Result<Value, String> {
        let name = body["Name"].as_str().unwrap_or_default().to_owned();
        let id = body["ID"].as_str().unwrap_or_default().to_owned();
        let inside = format!("{FOLDERS}/{name}");
        let unknown = || format!("no volume {name}");
        match method {
            // A driver that is introduced to somebody anew knows that nothing is mounted (dockerd was killed).
            "Activate" => {
                self.volumes.values_mut().for_each(|kept| kept.ids.clear());
                return Ok(json!({"Implements": ["VolumeDriver"]}));
            }
            "Create" => {
                fs::create_dir_all(folders.join(&name)).map_err(|cause| cause.to_string())?;
                let kept = self.volumes.entry(name).or_default();
                kept.options = body["Opts"].clone();
            }
            "Get" => {
                self.volumes.get(&name).ok_or_else(unknown)?;
                return Ok(json!({"Volume": {"Name": name, "Status": {"kept": true}}, "Err": ""}));
            }
            "Path" => return Ok(json!({"Mountpoint": inside, "Err": ""})),
            "Mount" => {
                let kept = self.volumes.get_mut(&name).ok_or_else(unknown)?;
                kept.ids.insert(id);
                return Ok(json!({"Mountpoint": inside, "Err": ""}));
            }
            "Unmount" => {
                let kept = self.volumes.get_mut(&name).ok_or_else(unknown)?;
                if !kept.ids.remove(&id) {
                    return Err(format!("{name} is not mounted for {id}"));
                }
            }
            "Remove" => {
                if !self.volumes.get(&name).ok_or_else(unknown)?.ids.is_empty() {
                    return Err(format!("{name} is mounted"));
                }
                self.volumes.remove(&name);
                fs::remove_dir_all(folders.join(&name)).map_err(|cause| cause.to_string())?;
            }
            "List" => {
                let names = self.volumes.keys().map(|name| json!({"Name": name}));
                return Ok(json!({"Volumes": names.collect::<Vec<_>>(), "Err": ""}));
            }
            other => return Err(format!("no method {other}")),
        }
        Ok(json!({"Err": ""}))
    }
}
