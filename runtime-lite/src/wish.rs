//! What the user wants of a container, from the options of `run` and `create` and the image's defaults.
//! Both commands call it before anything is made.
//! It must never make anything but what a network or a volume needs to be found (the default network).

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use wharf_protocol::{Health, Orders, Restart};

use crate::cli;
use crate::connection;
use crate::container::{Limits, Names, Process, Wish};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::root::{self, Image};
use crate::{limits, mounts, ulimits, units};

/// The definition that these options ask for.
pub(crate) fn of(home: &Home, asked: cli::Container, detached: bool) -> Result<Wish> {
    let image = root::find(&asked.image)?;
    let restart = restart(&asked.restart)?;
    if asked.rm && restart != Restart::No {
        return Err(conflict(
            "--rm",
            "--restart: what is removed can't be started again",
        ));
    }
    if asked.tty && detached && asked.rm && asked.command.is_empty() && image.command.is_empty() {
        return Err(Error::NoCommand);
    }
    let orders = Orders {
        restart,
        health: health(&asked.health)?,
        runtime: asked.runtime.map(|path| runtime(&path)).transpose()?,
    };
    let exposed = exposed(&image, &asked.connection.expose)?;
    let connected = connection::of(home, &asked.connection, &exposed)?;
    let mounts = mounts::of(home, &asked.files, &image)?;
    let limits = Limits {
        read_only: asked.files.read_only,
        cap_add: asked.limits.cap_add,
        cap_drop: asked.limits.cap_drop,
        devices: limits::devices(&asked.limits.device)?,
        resources: limits::resources(&asked.limits.usage)?,
        no_new_privileges: no_new_privileges(&asked.limits.security_opt)?,
        ulimits: ulimits::of(&asked.limits.ulimit)?,
        oom_score_adj: ulimits::oom_score_adj(asked.limits.oom_score_adj)?,
    };
    let process = process(
        &asked.env,
        &asked.env_file,
        ProcessWish {
            entrypoint: asked.entrypoint,
            command: asked.command,
            user: asked.user,
            workdir: asked.workdir,
            image: &image,
        },
    )?;
    Ok(Wish {
        remove: asked.rm,
        image: asked.image,
        rootfs: image.rootfs,
        process: Process {
            terminal: asked.tty,
            interactive: asked.interactive,
            stop_signal: stop_signal(&asked.stop_signal, image.stop_signal)?,
            stop_timeout: asked.stop_timeout,
            ..process
        },
        hostname: asked.hostname,
        limits,
        mounts,
        exposed,
        labels: labels(&asked.label),
        mode: connected.mode,
        joined: connected.joined,
        attachments: connected.attachments,
        names: names(home, &asked.connection)?,
        orders,
    })
}

/// Docker's word for it; its others say what is the bundle's here.
fn no_new_privileges(given: &[String]) -> Result<bool> {
    let known =
        |word: &&String| word.as_str() == "no-new-privileges" || *word == "no-new-privileges=true";
    match given.iter().find(|word| !known(word)) {
        Some(other) => Err(Error::BadValue {
            given: other.clone(),
            rule: "is no security option other than no-new-privileges",
        }),
        None => Ok(!given.is_empty()),
    }
}

fn conflict(one: &'static str, other: &'static str) -> Error {
    Error::Conflict { one, other }
}

struct ProcessWish<'a> {
    entrypoint: Option<String>,
    command: Vec<String>,
    user: Option<String>,
    workdir: Option<std::path::PathBuf>,
    image: &'a Image,
}

/// Docker's rule: an entrypoint from the command line forgets the image's command; a command replaces the image's.
fn process(env: &[String], files: &[std::path::PathBuf], wish: ProcessWish<'_>) -> Result<Process> {
    let image = wish.image;
    let (mut command, defaults) = match wish.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), &[][..]),
        Some(entrypoint) => (vec![entrypoint], &[][..]),
        None => (image.entrypoint.clone(), image.command.as_slice()),
    };
    match wish.command.is_empty() {
        true => command.extend_from_slice(defaults),
        false => command.extend(wish.command),
    }
    if command.is_empty() {
        return Err(Error::NoCommand);
    }
    let workdir = wish.workdir.or_else(|| image.workdir.clone());
    if let Some(relative) = workdir.as_ref().filter(|dir| !dir.is_absolute()) {
        return Err(Error::BadValue {
            given: relative.display().to_string(),
            rule: "is not absolute: a working directory begins with a slash",
        });
    }
    let mut variables = image.env.clone();
    for file in files {
        variables.extend(env_file(file)?);
    }
    variables.extend(env.iter().filter_map(|given| variable(given)));
    Ok(Process {
        command,
        env: without_repetition(variables),
        user: wish.user.or_else(|| image.user.clone()),
        workdir,
        ..Process::default()
    })
}

/// `NAME=value`, or a name alone for wharf's own value of it, if it has one.
pub(crate) fn variable(given: &str) -> Option<String> {
    match given.contains('=') {
        true => Some(given.to_owned()),
        false => std::env::var(given)
            .ok()
            .map(|value| format!("{given}={value}")),
    }
}

/// The last word on a variable counts.
pub(crate) fn without_repetition(variables: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::new();
    for variable in variables {
        kept.retain(|earlier| name(earlier) != name(&variable));
        kept.push(variable);
    }
    kept
}

fn env_file(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let lines = text.lines().map(str::trim_start);
    let meant = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(meant.filter_map(variable).collect())
}

fn labels(given: &[String]) -> BTreeMap<String, String> {
    let pair = |label: &String| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (label.clone(), String::new()),
    };
    given.iter().map(pair).collect()
}

/// The `--restart` option.
pub(crate) fn restart(given: &str) -> Result<Restart> {
    let refuse = || Error::BadValue {
        given: given.to_owned(),
        rule: "is none of no, always, unless-stopped, on-failure, on-failure:N",
    };
    Ok(match given.split_once(':') {
        None => match given {
            "no" => Restart::No,
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => Restart::OnFailure { at_most: None },
            _ => return Err(refuse()),
        },
        Some(("on-failure", most)) => Restart::OnFailure {
            at_most: Some(most.parse().map_err(|_| refuse())?),
        },
        Some(_) => return Err(refuse()),
    })
}

/// The form that [`restart`] reads.
pub(crate) fn show_restart(policy: Restart) -> String {
    match policy {
        Restart::No => "no".to_owned(),
        Restart::Always => "always".to_owned(),
        Restart::UnlessStopped => "unless-stopped".to_owned(),
        Restart::OnFailure { at_most: None } => "on-failure".to_owned(),
        Restart::OnFailure {
            at_most: Some(most),
        } => format!("on-failure:{most}"),
    }
}

fn stop_signal(given: &str, of_image: Option<String>) -> Result<Option<String>> {
    let chosen = match (given, of_image) {
        ("SIGTERM", Some(other)) => other,
        (given, _) => given.to_owned(),
    };
    units::signal(&chosen)?;
    Ok(Some(chosen))
}

fn health(asked: &cli::Health) -> Result<Option<Health>> {
    let Some(command) = &asked.health_cmd else {
        return Ok(None);
    };
    let milliseconds = |text: &str| -> Result<u64> {
        let time = units::duration(text)?.as_millis();
        Ok(u64::try_from(time).unwrap_or(u64::MAX))
    };
    let shell = ["/bin/sh", "-c", command];
    Ok(Some(Health {
        command: shell.map(str::to_owned).to_vec(),
        // Less would be a busy loop of processes.
        interval_ms: milliseconds(&asked.health_interval)?.max(10),
        timeout_ms: milliseconds(&asked.health_timeout)?.max(10),
        start_period_ms: milliseconds(&asked.health_start_period)?,
        retries: asked.health_retries.max(1),
    }))
}

fn runtime(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize()
        .map_err(Error::file("find the OCI runtime", path))
}

fn exposed(image: &Image, more: &[String]) -> Result<Vec<String>> {
    let mut all = image.exposed.clone();
    for given in more {
        let (port, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
        crate::ports::parse(&format!("{port}:{port}/{protocol}"))?;
        all.push(format!("{port}/{protocol}"));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn names(home: &Home, asked: &cli::Connection) -> Result<Names> {
    let mut links = Vec::new();
    for given in &asked.link {
        let (name, alias) = given.split_once(':').unwrap_or((given, given));
        let (about, _) = crate::container::find(home, name)?;
        links.push((about.id.to_string(), alias.to_owned()));
    }
    let mut hosts = Vec::new();
    for given in &asked.add_host {
        let refuse = || Error::BadValue {
            given: given.clone(),
            rule: "is not of the form NAME:ADDRESS",
        };
        let (name, address) = given.split_once(':').ok_or_else(refuse)?;
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        hosts.push((name.to_owned(), address));
    }
    Ok(Names {
        links,
        hosts,
        servers: asked.dns.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            entrypoint: vec!["/entry".to_owned()],
            command: vec!["default".to_owned()],
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            ..Image::default()
        }
    }

    fn command(entrypoint: Option<&str>, words: &[&str]) -> Vec<String> {
        let wish = ProcessWish {
            entrypoint: entrypoint.map(str::to_owned),
            command: words.iter().map(|&word| word.to_owned()).collect(),
            user: None,
            workdir: None,
            image: &image(),
        };
        process(&[], &[], wish).expect("a process").command
    }

    #[test]
    fn entrypoint_and_command_combine_as_with_docker() {
        assert_eq!(command(None, &[]), ["/entry", "default"]);
        assert_eq!(command(None, &["x"]), ["/entry", "x"]);
        assert_eq!(command(Some("/other"), &[]), ["/other"]);
        assert_eq!(command(Some("/other"), &["x"]), ["/other", "x"]);
        assert_eq!(command(Some(""), &["x"]), ["x"]);
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let wish = ProcessWish {
            entrypoint: None,
            command: Vec::new(),
            user: None,
            workdir: None,
            image: &image(),
        };
        let made = process(&["A=3".to_owned()], &[], wish).expect("a process");
        assert_eq!(made.env, ["B=2", "A=3"]);
    }

    #[test]
    fn restart_policies_are_read_and_shown_alike() {
        for given in [
            "no",
            "always",
            "unless-stopped",
            "on-failure",
            "on-failure:3",
        ] {
            assert_eq!(show_restart(restart(given).expect("a policy")), given);
        }
        for wrong in ["", "sometimes", "always:3", "on-failure:x"] {
            assert!(restart(wrong).is_err(), "{wrong}");
        }
    }
}
