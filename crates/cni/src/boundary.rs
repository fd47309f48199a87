//! The boundary of a plugin's process: environment, stdin, stdout, each injected.
//! `main` runs it over the process's own; tests run it over buffers.
//! Must never call a verb with anything unchecked, and must answer on every path.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use wharfline_spec::cni::{CniError, NetConf, Version, code};

use crate::environment::{self, ReadVariable, Who};
use crate::plugin::{NetworkRequest, Plugin, Request, Verb};
use crate::{log, panics, signals, stdout};

/// Largest configuration that is read, in bytes. Real ones have a few thousand; 206 port mappings
/// have 20,000.
const STDIN_MAX: u64 = 16 << 20;

/// What a plugin's process is connected to.
pub struct Boundary<'a> {
    /// Reads an environment variable.
    pub env: Box<ReadVariable<'a>>,
    /// The configuration comes from here.
    pub stdin: Box<dyn Read + 'a>,
    /// The answer goes there.
    pub stdout: Box<dyn Write + 'a>,
}

/// An error and the version that its document is written in.
struct Refusal {
    version: Version,
    error: CniError,
}

impl Boundary<'_> {
    /// The process's own environment, stdin and stdout.
    #[must_use]
    pub fn of_process() -> Boundary<'static> {
        let stdin = io::stdin();
        // Somebody who tries a plugin by hand is answered, not waited for.
        let stdin: Box<dyn Read> = if stdin.is_terminal() {
            Box::new(io::empty())
        } else {
            Box::new(stdin.lock())
        };
        Boundary {
            env: Box::new(|name| std::env::var_os(name)),
            stdin,
            stdout: Box::new(io::stdout().lock()),
        }
    }

    /// Reads the request, calls the plugin's verb and writes the answer.
    ///
    /// The status is 0 on success, else 1 after an error document.
    pub fn run<P: Plugin>(&mut self, plugin: &P) -> ExitCode {
        let answer = panics::caught(|| self.answer(plugin)).unwrap_or_else(|error| {
            Err(Refusal {
                version: Version::NEWEST,
                error,
            })
        });
        let (document, code) = match answer {
            Ok(None) => return ExitCode::SUCCESS,
            Ok(Some(document)) => (document, ExitCode::SUCCESS),
            Err(Refusal { version, error }) => {
                tracing::error!(code = error.code, "{error}");
                (error.to_json(version), ExitCode::FAILURE)
            }
        };
        match stdout::answer(&mut self.stdout, &document) {
            Ok(()) => code,
            Err(e) => {
                tracing::error!("write the answer to stdout: {e}");
                ExitCode::FAILURE
            }
        }
    }

    fn answer<P: Plugin>(&mut self, plugin: &P) -> Result<Option<Value>, Refusal> {
        let verb = environment::verb(&self.env).map_err(unversioned)?;
        let path = environment::path(&self.env, verb).map_err(unversioned)?;
        match verb {
            Verb::Version => Ok(Some(self.versions(plugin))),
            Verb::Add | Verb::Del | Verb::Check => {
                let who = environment::who(&self.env).map_err(unversioned)?;
                let conf = self.configuration(plugin, verb)?;
                log::about(|| {
                    // Twelve characters are what people see in every other listing.
                    let container = who.container.as_str().get(..12);
                    let container = container.unwrap_or(who.container.as_str());
                    format!(
                        "{} {verb} {} {container}/{}: ",
                        plugin.name(),
                        conf.name,
                        who.ifname
                    )
                });
                attachment_verb(plugin, request(verb, who, conf, path))
            }
            Verb::Gc | Verb::Status => {
                let conf = self.configuration(plugin, verb)?;
                log::about(|| format!("{} {verb} {}: ", plugin.name(), conf.name));
                network_verb(plugin, &NetworkRequest { verb, conf, path })
            }
        }
    }

    /// The answer to VERSION, which echoes the caller's version where we know it and takes any stdin.
    fn versions<P: Plugin>(&mut self, plugin: &P) -> Value {
        let stated = self.read_stdin().map(|bytes| stated_version(&bytes));
        let version = stated.ok().flatten().unwrap_or(Version::NEWEST);
        let supported: Vec<&str> = plugin.versions().iter().map(|v| v.as_str()).collect();
        json!({ "cniVersion": version.as_str(), "supportedVersions": supported })
    }

    fn configuration<P: Plugin>(&mut self, plugin: &P, verb: Verb) -> Result<NetConf, Refusal> {
        let bytes = self.read_stdin().map_err(unversioned)?;
        let version = || stated_version(&bytes).unwrap_or(Version::NEWEST);
        let conf = read(&bytes, verb).map_err(|error| Refusal {
            version: version(),
            error,
        })?;
        let refusal = |error| {
            Err(Refusal {
                version: conf.cni_version,
                error,
            })
        };
        if !plugin.versions().contains(&conf.cni_version) {
            return refusal(CniError::incompatible(
                conf.cni_version.as_str(),
                plugin.versions(),
            ));
        }
        if conf.cni_version < verb.since() {
            let msg = format!("config version does not allow {verb}");
            return refusal(CniError::new(code::INCOMPATIBLE_VERSION, msg));
        }
        if verb == Verb::Gc && !conf.lists_valid_attachments() {
            // Absent is not empty: collecting everything by mistake cuts off live containers.
            return refusal(CniError::invalid_config(
                "cni.dev/valid-attachments: is missing",
            ));
        }
        Ok(conf)
    }

    fn read_stdin(&mut self) -> Result<Vec<u8>, CniError> {
        let mut bytes = Vec::new();
        let read = self
            .stdin
            .by_ref()
            .take(STDIN_MAX + 1)
            .read_to_end(&mut bytes);
        match read {
            Err(e) => Err(CniError::new(code::IO_FAILURE, format!("read stdin: {e}"))),
            Ok(n) if n as u64 > STDIN_MAX => {
                let msg = format!("the configuration on stdin is longer than {STDIN_MAX} bytes");
                Err(CniError::new(code::DECODING_FAILURE, msg))
            }
            Ok(_) => Ok(bytes),
        }
    }
}

fn read(bytes: &[u8], verb: Verb) -> Result<NetConf, CniError> {
    if verb != Verb::Del {
        return NetConf::parse(bytes);
    }
    let (conf, unreadable) = NetConf::parse_for_del(bytes)?;
    if let Some(error) = unreadable {
        tracing::warn!("DEL goes on without prevResult: {error}");
    }
    Ok(conf)
}

/// Puts the request together. Whether the namespace is one that may be worked in, the engine finds out.
fn request(verb: Verb, who: Who, conf: NetConf, path: Vec<PathBuf>) -> Request {
    let Who {
        container,
        netns,
        ifname,
        args,
        args_text,
    } = who;
    Request {
        verb,
        conf,
        container,
        netns,
        ifname,
        args,
        args_text,
        path,
    }
}

fn attachment_verb<P: Plugin>(plugin: &P, request: Request) -> Result<Option<Value>, Refusal> {
    let version = request.conf.cni_version;
    let done = panics::caught(|| match request.verb {
        Verb::Del => {
            signals::hold_back();
            plugin.del(&request).map(|()| None)
        }
        Verb::Check => plugin.check(&request).map(|()| None),
        _ => plugin
            .add(&request)
            .map(|result| Some(result.to_json(version))),
    });
    done.flatten().map_err(|error| Refusal { version, error })
}

fn network_verb<P: Plugin>(plugin: &P, request: &NetworkRequest) -> Result<Option<Value>, Refusal> {
    let done = panics::caught(|| match request.verb {
        Verb::Gc => plugin.gc(request),
        _ => plugin.status(request),
    });
    let version = request.conf.cni_version;
    done.flatten()
        .map(|()| None)
        .map_err(|error| Refusal { version, error })
}

/// The version of a document that may be broken otherwise.
fn stated_version(bytes: &[u8]) -> Option<Version> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    document.get("cniVersion")?.as_str()?.parse().ok()
}

/// A refusal before any configuration was read.
fn unversioned(error: CniError) -> Refusal {
    Refusal {
        version: Version::NEWEST,
        error,
    }
}

#[cfg(test)]
mod tests;
