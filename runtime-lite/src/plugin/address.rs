//! Where a driver listens, by Docker's rules of discovery (docs.docker.com, "Docker Plugin API", Plugin discovery): a socket
//! below /run/docker/plugins first, then `.spec` and `.json` files. `volume` asks it before each call.
//! It must never take a name for a path.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::volume::checked_name;

const SOCKETS: &str = "/run/docker/plugins";
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// Where a driver listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// `HOST:PORT`
    Tcp(String),
}

/// A `.json` file.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    addr: String,
    #[serde(default, rename = "TLSConfig")]
    tls: Option<serde_json::Value>,
}

impl Address {
    /// Finds the driver called `name`.
    pub(crate) fn find(name: &str) -> Result<Address> {
        let name = &checked_name(name)?;
        for path in beside(Path::new(SOCKETS), name, "sock") {
            if path
                .metadata()
                .is_ok_and(|about| about.file_type().is_socket())
            {
                return Ok(Address::Unix(path));
            }
        }
        for dir in SPECS.map(Path::new) {
            for kind in ["spec", "json"] {
                for path in beside(dir, name, kind) {
                    if let Some(text) = text(&path)? {
                        return Address::described(&path, kind, &text);
                    }
                }
            }
        }
        Err(Error::NoVolumeDriver(name.clone()))
    }

    fn described(path: &Path, kind: &str, text: &str) -> Result<Address> {
        if kind == "spec" {
            return Address::parse(path, text.trim());
        }
        let malformed = |source| Error::Malformed {
            path: path.to_owned(),
            source,
        };
        let described: Described = serde_json::from_str(text).map_err(malformed)?;
        let secured = described.tls.is_some_and(|tls| !tls.is_null());
        match secured {
            true => Err(refuse(path, "has a TLSConfig, which wharf does not speak")),
            false => Address::parse(path, &described.addr),
        }
    }

    fn parse(path: &Path, given: &str) -> Result<Address> {
        match given.split_once("://") {
            Some(("unix", socket)) if socket.starts_with('/') => Ok(Address::Unix(socket.into())),
            Some(("tcp", host)) if host.contains(':') => {
                Ok(Address::Tcp(host.trim_end_matches('/').to_owned()))
            }
            _ => Err(refuse(
                path,
                "names no address of the form unix:///PATH or tcp://HOST:PORT",
            )),
        }
    }

    /// What changes when the driver is started anew, as far as can be told: a new socket is another file.
    pub(crate) fn instance(&self) -> Result<String> {
        Ok(match self {
            Address::Unix(path) => {
                let about = path.metadata().map_err(Error::file("look at", path))?;
                let (seconds, rest) = (about.ctime(), about.ctime_nsec());
                format!("{} {} {seconds}.{rest:09}", about.dev(), about.ino())
            }
            Address::Tcp(host) => host.clone(),
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(out, "{}", path.display()),
            Address::Tcp(host) => write!(out, "{host}"),
        }
    }
}

fn beside(dir: &Path, name: &str, kind: &str) -> [PathBuf; 2] {
    let file = format!("{name}.{kind}");
    [dir.join(&file), dir.join(name).join(&file)]
}

fn text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound) => Ok(None),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotADirectory) => Ok(None),
        other => other.map(Some).map_err(Error::file("read", path)),
    }
}

fn refuse(path: &Path, rule: &'static str) -> Error {
    Error::BadValue {
        given: path.display().to_string(),
        rule,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(kind: &str, text: &str) -> Option<Address> {
        Address::described(Path::new("/etc/docker/plugins/x"), kind, text).ok()
    }

    #[test]
    fn spec_and_json_files_name_sockets_and_hosts() {
        let socket = Some(Address::Unix("/run/x.sock".into()));
        assert_eq!(described("spec", "unix:///run/x.sock\n"), socket);
        assert_eq!(
            described("json", r#"{"Name":"x","Addr":"unix:///run/x.sock"}"#),
            socket
        );
        let host = Some(Address::Tcp("localhost:8080".to_owned()));
        assert_eq!(described("spec", "tcp://localhost:8080"), host);
        for (kind, wrong) in [
            ("spec", "/run/x.sock"),
            ("spec", "unix://x.sock"),
            ("spec", "https://x/"),
            ("json", "{}"),
            (
                "json",
                r#"{"Addr":"tcp://x:1","TLSConfig":{"CAFile":"/a"}}"#,
            ),
        ] {
            assert_eq!(described(kind, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_is_no_path() {
        for wrong in ["../x", "a/b", "", "."] {
            assert!(Address::find(wrong).is_err(), "{wrong}");
        }
    }
}
