//! The library as a command, for the tests that kill it and for benches/backup. `wharf volume` is what people use.
//! usage: repository (init | backup DIR NAME | restore DIR [ID] | verify | list | forget N) REPOSITORY, password in RESTIC_PASSWORD

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use wharfline_backup::{
    Access, Error, Filter, Keys, Password, Policy, Progress, Repository, Result, Silent, Subject,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match run(&arguments) {
        Ok(told) => {
            let written = writeln!(out, "{told}");
            if written.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(cause) => {
            let _ = writeln!(err, "repository: {}", cause.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String> {
    let [verb, rest @ .., address] = arguments else {
        return Err(usage());
    };
    let password = Password::from_environment("RESTIC_PASSWORD")?;
    let keys = Keys::from_variables(|name| std::env::var(name).ok());
    let access = Access {
        address: address.parse()?,
        password,
        keys,
    };
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    if *verb == "init" {
        return Ok(Repository::init(&access)?.location());
    }
    let repository = Repository::open(&access)?;
    match (*verb, rest) {
        ("backup", [directory, name]) => {
            let subject = Subject {
                root: open(directory)?,
                name: (*name).to_owned(),
                host: None,
                tags: Vec::new(),
            };
            Ok(json(&repository.backup(subject, &progress)?))
        }
        ("restore", [directory, id @ ..]) => {
            let snapshot =
                repository.snapshot(id.first().unwrap_or(&"latest"), &Filter::default())?;
            Ok(json(&repository.restore(
                &snapshot,
                open(directory)?,
                &progress,
            )?))
        }
        ("verify", []) => {
            let verified = repository.verify(&progress)?;
            match verified.damages.first() {
                None => Ok(json(&verified)),
                Some(first) => Err(Error::Damaged {
                    object: repository.location(),
                    problem: first.clone(),
                }),
            }
        }
        ("list", []) => Ok(json(&repository.snapshots(&Filter::default())?)),
        ("forget", [last]) => {
            let policy = Policy {
                last: last.parse().ok(),
                ..Policy::default()
            };
            Ok(json(&repository.forget(
                &policy,
                &Filter::default(),
                &progress,
            )?))
        }
        _ => Err(usage()),
    }
}

fn open(directory: &str) -> Result<OwnedFd> {
    let path = Path::new(directory);
    let opened = File::open(path).map(OwnedFd::from);
    opened.map_err(|source| Error::File {
        doing: "open",
        path: path.to_owned(),
        source,
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn usage() -> Error {
    Error::Address {
        given: String::new(),
        problem: "see the first lines of examples/repository.rs".to_owned(),
    }
}
