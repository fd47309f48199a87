//! What the user wants of a container, from the options of `run` and `create` and the image's defaults.
//! Both commands call it before anything is made.
//! It must never make anything but what a network or a volume needs to be found (the default network).

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use wharf_image::Defaults;
use wharf_protocol::{Orders, Restart};
use wharfline_spec::cni::PortMapping;

use crate::cli;
use crate::connection;
use crate::container::{Limits, Names, Process, Wish};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{health, limits, mounts, root, ulimits, units};

/// The definition that these options ask for.
pub(crate) fn of(home: &Home, asked: cli::Container) -> Result<Wish> {
    let image = root::find(home, &asked.image)?;
    let exposed = exposed(&image.defaults, &asked.connection.expose)?;
    // Before the default network is made for a container that can't be.
    let orders = orders(&asked, &image.defaults)?;
    let connected = connection::of(home, &asked.connection, &exposed)?;
    Ok(Wish {
        remove: asked.rm,
        orders,
        process: process(&asked, &image.defaults)?,
        mounts: mounts::of(home, &asked.files, &image.defaults)?,
        labels: labels(&image.defaults.labels, &asked.label),
        names: names(home, &asked.connection)?,
        limits: Limits {
            read_only: asked.files.read_only,
            devices: limits::devices(&asked.limits.device)?,
            resources: limits::resources(&asked.limits.usage)?,
            no_new_privileges: no_new_privileges(&asked.limits.security_opt)?,
            ulimits: ulimits::of(&asked.limits.ulimit)?,
            oom_score_adj: ulimits::oom_score_adj(asked.limits.oom_score_adj)?,
            cap_add: asked.limits.cap_add,
            cap_drop: asked.limits.cap_drop,
        },
        image: asked.image,
        image_id: image.id,
        rootfs: image.folder.unwrap_or_default(),
        hostname: asked.hostname,
        exposed,
        mode: connected.mode,
        joined: connected.joined,
        attachments: connected.attachments,
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

/// What the shim is to obey.
fn orders(asked: &cli::Container, image: &Defaults) -> Result<Orders> {
    let restart = restart(&asked.restart)?;
    if asked.rm && restart != Restart::No {
        return Err(Error::Conflict {
            one: "--rm",
            other: "--restart: what is removed can't be started again",
        });
    }
    Ok(Orders {
        restart,
        health: health::of(&asked.health, image)?,
        runtime: asked.runtime.as_deref().map(runtime).transpose()?,
    })
}

fn process(asked: &cli::Container, image: &Defaults) -> Result<Process> {
    let (command, entrypoint_words) = command(asked, image)?;
    let of_image = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let workdir = asked.workdir.clone();
    let workdir = workdir.or_else(|| of_image(&image.working_dir).map(PathBuf::from));
    if let Some(relative) = workdir.as_ref().filter(|dir| !dir.is_absolute()) {
        return Err(Error::BadValue {
            given: relative.display().to_string(),
            rule: "is not absolute: a working directory begins with a slash",
        });
    }
    Ok(Process {
        command,
        entrypoint_words,
        env: variables(asked, image)?,
        user: asked.user.clone().or_else(|| of_image(&image.user)),
        workdir,
        terminal: asked.tty,
        interactive: asked.interactive,
        stop_signal: stop_signal(asked.stop_signal.as_deref(), image)?,
        stop_timeout: asked.stop_timeout,
    })
}

/// The words, and how many of them are the entrypoint. Docker's rule: an entrypoint from the command line forgets the
/// image's command; a command replaces the image's.
fn command(asked: &cli::Container, image: &Defaults) -> Result<(Vec<String>, usize)> {
    let (mut command, defaults) = match &asked.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), &[][..]),
        Some(entrypoint) => (vec![entrypoint.clone()], &[][..]),
        None => (image.entrypoint.clone(), image.cmd.as_slice()),
    };
    let entrypoint_words = command.len();
    command.extend_from_slice(match asked.command.is_empty() {
        true => defaults,
        false => &asked.command,
    });
    match command.is_empty() {
        true => Err(Error::NoCommand),
        false => Ok((command, entrypoint_words)),
    }
}

/// The image's, the files', then the options'.
fn variables(asked: &cli::Container, image: &Defaults) -> Result<Vec<String>> {
    let mut variables = image.env.clone();
    for file in &asked.env_file {
        variables.extend(env_file(file)?);
    }
    for given in &asked.env {
        match variable(given) {
            Some(variable) => variables.push(variable),
            // A name without a value, here or in wharf's environment: the image's goes, too (Docker's rule).
            None => variables.retain(|other| name_of(other) != given),
        }
    }
    Ok(without_repetition(variables))
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
    let mut kept: Vec<String> = Vec::new();
    for variable in variables {
        kept.retain(|earlier| name_of(earlier) != name_of(&variable));
        kept.push(variable);
    }
    kept
}

fn name_of(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

fn env_file(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let lines = text.lines().map(str::trim_start);
    let meant = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(meant.filter_map(variable).collect())
}

fn labels(of_image: &BTreeMap<String, String>, given: &[String]) -> BTreeMap<String, String> {
    let pair = |label: &String| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (label.clone(), String::new()),
    };
    let of_image = of_image
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    of_image.chain(given.iter().map(pair)).collect()
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

fn stop_signal(given: Option<&str>, image: &Defaults) -> Result<Option<String>> {
    let of_image = Some(image.stop_signal.as_str()).filter(|name| !name.is_empty());
    let chosen = given.or(of_image).unwrap_or("SIGTERM");
    units::signal(chosen)?;
    Ok(Some(chosen.to_owned()))
}

fn runtime(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(Error::file("find the OCI runtime", path))
}

/// The image's ports and these, each alone: `8000-8001` is two.
fn exposed(image: &Defaults, more: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for given in image.exposed_ports.iter().chain(more) {
        let (port, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
        let ports = crate::ports::parse(&format!("{port}:{port}/{protocol}"))?;
        let one = |port: &PortMapping| format!("{}/{protocol}", port.container_port);
        all.extend(ports.iter().map(one));
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
    use clap::Parser;

    use super::*;

    fn image() -> Defaults {
        Defaults {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned()],
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            ..Defaults::default()
        }
    }

    fn asked(words: &[&str]) -> cli::Container {
        let words = [&["wharf", "run"], words].concat();
        match cli::Cli::try_parse_from(words).expect("options").command {
            cli::Command::Run(run) => run.container,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entrypoint_and_command_combine_as_with_docker() {
        let made = |words: &[&str]| super::command(&asked(words), &image()).expect("a command");
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(made(&["i"]), (words(&["/entry", "default"]), 1));
        assert_eq!(made(&["i", "x"]), (words(&["/entry", "x"]), 1));
        assert_eq!(made(&["--entrypoint", "/o", "i"]), (words(&["/o"]), 1));
        assert_eq!(
            made(&["--entrypoint", "/o", "i", "x"]),
            (words(&["/o", "x"]), 1)
        );
        assert_eq!(made(&["--entrypoint", "", "i", "x"]), (words(&["x"]), 0));
        let nothing = super::command(&asked(&["--entrypoint", "", "i"]), &image());
        assert!(matches!(nothing, Err(Error::NoCommand)));
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let made = |words: &[&str]| variables(&asked(words), &image()).expect("variables");
        assert_eq!(made(&["-e", "A=3", "i"]), ["B=2", "A=3"]);
        let unset = Defaults {
            env: vec!["WHARF_TEST_HAS_NO_SUCH_VARIABLE=1".to_owned()],
            ..image()
        };
        let asked = asked(&["-e", "WHARF_TEST_HAS_NO_SUCH_VARIABLE", "i"]);
        assert!(variables(&asked, &unset).expect("variables").is_empty());
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
