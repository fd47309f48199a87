//! Backups of volumes: what is asked of the driver, and what comes of it. `operations` calls it.
//! The driver does the work; a password reaches it by a pipe.
//! It must never put a password or a key into a request, an argument or a message.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use wharfline_spec::docker::volume::{
    Backup, Forget, OfRepository, Repository, RepositorySecrets, Restore,
};

use super::Server;
use super::archive::{by_descriptor, pipe};
use crate::cli::Json;
use crate::error::{Error, Result};
use crate::image::size;
use crate::output::{self, Table};

/// Where the password is unless an option says: the variable that restic has, too.
const PASSWORD: &str = "RESTIC_PASSWORD";
const PASSWORD_FILE: &str = "RESTIC_PASSWORD_FILE";

/// Where the repository's password is.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// A file whose first line is the repository's password; - is standard input
    /// [default: $RESTIC_PASSWORD_FILE, else $RESTIC_PASSWORD].
    #[arg(short, long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Certificates in PEM that a server's may be signed by, beside those that the host believes
    /// [default: $RESTIC_CACERT, else $AWS_CA_BUNDLE].
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// What is done with backups. REPO is an absolute path, or s3:https://HOST/BUCKET/PREFIX.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupOperation {
    /// Back a volume up, in restic's format; only what changed since the last time is written.
    Backup {
        volume: String,
        repo: String,
        /// Make the repository if there is none.
        #[arg(long)]
        init: bool,
        /// A word to find the backup by; can be repeated.
        #[arg(long)]
        tag: Vec<String>,
        /// Also while somebody writes to it, where there is no snapshot at once.
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        output: Json,
    },
    /// Make a volume of a backup.
    Restore {
        repo: String,
        new: String,
        /// Which backup: the beginning of its identifier.
        #[arg(long, value_name = "ID", default_value = "latest")]
        at: String,
        /// The latest of this volume.
        #[arg(long, value_name = "VOLUME")]
        of: Option<String>,
        /// What the driver is told of the volume to be; can be repeated.
        #[arg(short, long, value_name = "KEY=VALUE")]
        opt: Vec<String>,
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        output: Json,
    },
    /// Read a whole repository and say what is damaged.
    Verify {
        repo: String,
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        output: Json,
    },
    /// List the backups in a repository.
    Backups {
        repo: String,
        /// Only those of this volume.
        #[arg(long, value_name = "VOLUME")]
        of: Option<String>,
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        output: Json,
    },
    /// Remove the backups that no --keep-* keeps, for each host and volume by itself, and what only they need.
    Forget {
        repo: String,
        #[command(flatten)]
        keep: Keep,
        /// Only among those of this volume.
        #[arg(long, value_name = "VOLUME")]
        of: Option<String>,
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        output: Json,
    },
}

/// What `forget` keeps, in restic's words. -1 is all.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// So many of the last.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_last: Option<i32>,
    /// The last of each of so many hours that have one.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_hourly: Option<i32>,
    /// The last of each of so many days.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_daily: Option<i32>,
    /// The last of each of so many weeks.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_weekly: Option<i32>,
    /// The last of each of so many months.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_monthly: Option<i32>,
    /// The last of each of so many years.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_yearly: Option<i32>,
    /// All within this time of the latest: 1y5m7d2h.
    #[arg(long, value_name = "TIME")]
    keep_within: Option<String>,
    /// All with this tag; can be repeated.
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
}

impl BackupOperation {
    /// The volume that there is already.
    pub(super) fn volume(&self) -> Option<&str> {
        match self {
            BackupOperation::Backup { volume, .. } => Some(volume),
            _ => None,
        }
    }
}

pub(super) fn perform(server: &Server, operation: BackupOperation) -> Result<()> {
    use BackupOperation as Op;
    match operation {
        Op::Backup {
            volume: name,
            repo,
            init,
            tag: tags,
            live,
            secret,
            output,
        } => {
            let ask = |repository| Backup {
                name,
                repository,
                tags,
                init,
                live,
            };
            show(
                asked(server, "Backup", repo, &secret, ask)?,
                output,
                backed_up,
            )
        }
        Op::Restore {
            repo,
            new: name,
            at,
            of,
            opt,
            secret,
            output,
        } => {
            let options = super::options_of(&opt)?;
            let ask = |repository| Restore {
                name,
                repository,
                at,
                of,
                options,
            };
            show(
                asked(server, "Restore", repo, &secret, ask)?,
                output,
                restored,
            )
        }
        Op::Verify {
            repo,
            secret,
            output,
        } => {
            let ask = |repository| OfRepository {
                repository,
                of: None,
            };
            verified(
                asked(server, "Verify", repo.clone(), &secret, ask)?,
                &repo,
                output,
            )
        }
        Op::Backups {
            repo,
            of,
            secret,
            output,
        } => {
            let ask = |repository| OfRepository { repository, of };
            show(
                asked(server, "Backups", repo, &secret, ask)?,
                output,
                |list| table(list).render(),
            )
        }
        Op::Forget {
            repo,
            keep,
            of,
            secret,
            output,
        } => {
            let counts = keep.counts();
            let ask = |repository| Forget {
                repository,
                of,
                keep: counts,
                within: keep.keep_within,
                tags: keep.keep_tag,
            };
            show(
                asked(server, "Forget", repo, &secret, ask)?,
                output,
                forgotten,
            )
        }
    }
}

impl Keep {
    fn counts(&self) -> BTreeMap<String, i32> {
        let all = [
            ("last", self.keep_last),
            ("hourly", self.keep_hourly),
            ("daily", self.keep_daily),
            ("weekly", self.keep_weekly),
            ("monthly", self.keep_monthly),
            ("yearly", self.keep_yearly),
        ];
        let given = all
            .into_iter()
            .filter_map(|(period, count)| Some((period.to_owned(), count?)));
        given.collect()
    }
}

/// Asks with the secrets in a pipe, which the driver's process reads once.
fn asked<T: Serialize>(
    server: &Server,
    operation: &str,
    address: String,
    secret: &Secret,
    ask: impl FnOnce(Repository) -> T,
) -> Result<Value> {
    let secrets = RepositorySecrets {
        password: password(secret)?,
        variables: variables(),
        authorities: authorities(secret)?,
    };
    let text = serde_json::to_vec(&secrets).unwrap_or_default();
    let (reader, writer) = pipe()?;
    let repository = Repository {
        address,
        secrets: by_descriptor(&reader),
    };
    // Not waited for: where the driver refuses, nobody reads it.
    thread::spawn(move || File::from(writer).write_all(&text));
    let answered = server.work_for(operation, &operation.to_lowercase(), &ask(repository));
    drop::<OwnedFd>(reader);
    answered
}

fn password(secret: &Secret) -> Result<String> {
    let given = secret
        .password_file
        .clone()
        .or_else(|| std::env::var_os(PASSWORD_FILE).map(PathBuf::from));
    let text = match given {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(Error::file("read", "standard input"))?;
            text
        }
        Some(path) => fs::read_to_string(&path).map_err(Error::file("read", &path))?,
        // VarError would quote what is no UTF-8.
        None => std::env::var(PASSWORD).unwrap_or_default(),
    };
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Error::BadValue {
            given: "the repository's password".to_owned(),
            rule: "is empty: --password-file, $RESTIC_PASSWORD_FILE or $RESTIC_PASSWORD say it",
        }),
    }
}

/// Read here: who asks may read files that the driver does not see.
fn authorities(secret: &Secret) -> Result<Option<String>> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let given = secret.cacert.clone();
    let path = given
        .or_else(|| variable("RESTIC_CACERT"))
        .or_else(|| variable("AWS_CA_BUNDLE"));
    path.map(|path| fs::read_to_string(&path).map_err(Error::file("read", path)))
        .transpose()
}

fn variables() -> BTreeMap<String, String> {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ];
    let set = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    set.collect()
}

fn show(value: Value, output: Json, told: impl FnOnce(&Value) -> String) -> Result<()> {
    match output.json {
        true => output::print_json(&value),
        false => output::print(&told(&value)),
    }
    Ok(())
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), size)
}

fn backed_up(value: &Value) -> String {
    let mut told = format!(
        "{}\n{} in {} files and folders, {} new in the repository; {}\n",
        word(value, "id"),
        bytes(&value["bytes"]),
        value["files"],
        bytes(&value["added"]),
        word(value, "consistency")
    );
    for (key, meaning) in [
        ("changed", "changed while they were read"),
        ("gone", "were gone before they were read"),
    ] {
        if let Some(count) = value[key].as_u64().filter(|count| *count > 0) {
            told += &format!("{count} files {meaning}\n");
        }
    }
    told
}

fn restored(value: &Value) -> String {
    let done = &value["restored"];
    format!(
        "{}\n{} in {} files and {} folders, each compared\n",
        word(&value["snapshot"], "id"),
        bytes(&done["bytes"]),
        done["files"],
        done["directories"]
    )
}

/// Damages are said, and make the command fail.
fn verified(value: Value, repo: &str, output: Json) -> Result<()> {
    let damages: Vec<String> = value["damages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect();
    if output.json {
        output::print_json(&value);
    } else {
        let lines: String = damages.iter().map(|damage| format!("{damage}\n")).collect();
        output::print(&format!(
            "{lines}{} in {} packs of {} backups read, {} damages\n",
            bytes(&value["bytes"]),
            value["packs"],
            value["snapshots"],
            damages.len()
        ));
    }
    match damages.is_empty() {
        true => Ok(()),
        false => Err(Error::BadValue {
            given: repo.to_owned(),
            rule: "is damaged",
        }),
    }
}

fn table(list: &Value) -> Table {
    let mut table = Table::new(&["BACKUP", "TIME", "HOST", "PATH", "SIZE", "TAGS"]);
    let words = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for one in list.as_array().into_iter().flatten() {
        table.row(vec![
            word(one, "id").chars().take(8).collect(),
            word(one, "time").chars().take(19).collect(),
            word(one, "host").to_owned(),
            words(&one["paths"]),
            bytes(&one["bytes"]),
            words(&one["tags"]),
        ]);
    }
    table
}

fn forgotten(value: &Value) -> String {
    let count = |key: &str| value[key].as_array().map_or(0, Vec::len);
    format!(
        "{}{} backups removed, {} kept; {} freed, {} go when a day has passed\n",
        if count("removed") > 0 {
            table(&value["removed"]).render()
        } else {
            String::new()
        },
        count("removed"),
        count("kept"),
        bytes(&value["freed"]),
        bytes(&value["marked"])
    )
}
