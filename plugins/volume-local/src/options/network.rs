//! Volumes of file servers: NFS and CIFS, as Docker's local driver takes them (`device`, `o`).
//! `options` reads them; the network backend mounts what was read.
//! It must never put a password where somebody could read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A server's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkFs {
    /// `nfs` or `cifs`.
    pub(crate) kind: &'static str,
    /// The server's name or address.
    pub(crate) host: String,
    /// What of it: `/path`, or `/share/path` without the leading slashes of the host.
    pub(crate) path: String,
    /// Options of the mount, in order; the password among them.
    pub(crate) options: Vec<MountOption>,
}

/// `key=value`, or `key` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountOption {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

impl NetworkFs {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Option`] with the key, never with a value.
    pub(crate) fn parse(
        kind: &str,
        device: &str,
        words: &[&str],
        password: Option<&str>,
    ) -> Result<Self> {
        let is_nfs = kind.starts_with("nfs");
        let mut options = Vec::new();
        let mut address = None;
        for word in words
            .iter()
            .filter(|word| !matches!(**word, "" | "rw" | "ro"))
        {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (*word, None),
            };
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if key.is_empty() || !key.bytes().all(legal) {
                return Err(Error::option("o", "has a word that is no option"));
            }
            match key {
                "addr" | "ip" => address = value,
                "source" | "fsid" => {
                    return Err(Error::option("o", format!("{key} is not for you to set")));
                }
                "credentials" | "cred" => {
                    return Err(Error::option(
                        "o",
                        "credentials=FILE is read by mount.cifs alone: use -o password",
                    ));
                }
                _ => options.push(MountOption {
                    key: key.to_owned(),
                    value,
                }),
            }
        }
        if let Some(password) = password {
            if is_nfs {
                return Err(Error::option("password", "goes with type=cifs alone"));
            }
            options.push(MountOption {
                key: "password".to_owned(),
                value: Some(password.to_owned()),
            });
        }
        let (host, path) = if is_nfs { nfs(device)? } else { cifs(device)? };
        let host = match (host, address) {
            (_, Some(address)) => address,
            (host, None) if !host.is_empty() => host.to_owned(),
            _ => {
                return Err(Error::option(
                    "device",
                    "names no host, nor does addr= in o",
                ));
            }
        };
        Ok(Self {
            kind: if is_nfs { "nfs" } else { "cifs" },
            host,
            path: path.to_owned(),
            options,
        })
    }
}

/// `HOST:/PATH`, or `:/PATH` with the host in `addr`.
fn nfs(device: &str) -> Result<(&str, &str)> {
    match device.rsplit_once(":/") {
        Some((host, _)) => Ok((
            host.trim_matches(['[', ']']),
            device.get(host.len() + 1..).unwrap_or_default(),
        )),
        None => Err(Error::option("device", "is not of the form HOST:/PATH")),
    }
}

/// `//HOST/SHARE`.
fn cifs(device: &str) -> Result<(&str, &str)> {
    let rest = device
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'));
    match rest {
        Some((host, path)) if !path.is_empty() => Ok((host, path)),
        _ => Err(Error::option("device", "is not of the form //HOST/SHARE")),
    }
}

/// Whether an option of a mount is nobody's business.
fn is_secret(key: &str) -> bool {
    matches!(key, "password" | "pass" | "password2" | "pass2")
}

/// The options as anybody may see them.
pub(crate) fn without_secrets(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let masked = |word: &str| match word.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=********"),
        _ => word.to_owned(),
    };
    let shown = |(key, value): (&String, &String)| {
        let value = match key.as_str() {
            "o" => value.split(',').map(masked).collect::<Vec<_>>().join(","),
            key if is_secret(key) => "********".to_owned(),
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    options.iter().map(shown).collect()
}
