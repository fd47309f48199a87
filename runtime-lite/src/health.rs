//! The health check of a new container: the `--health-*` options, over what its image says.
//! `wish` asks for it once.
//! It must never let a probe run more often than every 10 ms: that would be a busy loop of processes.

use wharf_image::Defaults;
use wharf_protocol::Health;

use crate::cli;
use crate::error::{Error, Result};
use crate::units;

/// Docker's defaults, in milliseconds.
const INTERVAL: u64 = 30_000;
const TIMEOUT: u64 = 30_000;
const RETRIES: u32 = 3;
/// The least of interval and timeout, in milliseconds.
const LEAST: u64 = 10;

/// The check that is wanted. Each option wins over the image's word on the same thing.
pub(crate) fn of(asked: &cli::Health, image: &Defaults) -> Result<Option<Health>> {
    let of_image = image.healthcheck.clone().unwrap_or_default();
    let command = match &asked.health_cmd {
        _ if asked.no_healthcheck => None,
        Some(line) => Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec()),
        None => command(&of_image.test, &image.shell)?,
    };
    let Some(command) = command else {
        return match asked.is_bare() || asked.no_healthcheck {
            true => Ok(None),
            false => Err(Error::NoHealthCommand),
        };
    };
    let time = |given: &Option<String>, nanoseconds: u64, default: u64| match (given, nanoseconds) {
        (Some(text), _) => milliseconds(text),
        (None, 0) => Ok(default),
        (None, nanoseconds) => Ok(nanoseconds.div_ceil(1_000_000)),
    };
    let retries = match (asked.health_retries, of_image.retries) {
        (Some(given), _) => given,
        (None, 0) => RETRIES,
        (None, of_image) => u32::try_from(of_image).unwrap_or(u32::MAX),
    };
    Ok(Some(Health {
        command,
        interval_ms: time(&asked.health_interval, of_image.interval, INTERVAL)?.max(LEAST),
        timeout_ms: time(&asked.health_timeout, of_image.timeout, TIMEOUT)?.max(LEAST),
        start_period_ms: time(&asked.health_start_period, of_image.start_period, 0)?,
        retries: retries.max(1),
    }))
}

fn milliseconds(text: &str) -> Result<u64> {
    let time = units::duration(text)?.as_millis();
    Ok(u64::try_from(time).unwrap_or(u64::MAX))
}

/// The image's test: nothing, `NONE`, `CMD` and words, or `CMD-SHELL` and a line.
fn command(test: &[String], shell: &[String]) -> Result<Option<Vec<String>>> {
    let (kind, words) = match test.split_first() {
        Some((kind, words)) => (kind.as_str(), words),
        None => ("NONE", &[][..]),
    };
    match (kind, words) {
        ("NONE", _) => Ok(None),
        ("CMD", [_, ..]) => Ok(Some(words.to_vec())),
        ("CMD-SHELL", [line]) => {
            let mut command = match shell {
                [] => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
                shell => shell.to_vec(),
            };
            command.push(line.clone());
            Ok(Some(command))
        }
        _ => Err(Error::BadValue {
            given: test.join(" "),
            rule: "is the image's health check, and neither NONE nor CMD with words nor CMD-SHELL with a line; use --no-healthcheck",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_image::Healthcheck;

    fn image(test: &[&str]) -> Defaults {
        Defaults {
            healthcheck: Some(Healthcheck {
                test: test.iter().map(|&word| word.to_owned()).collect(),
                interval: 2_000_000_000,
                ..Healthcheck::default()
            }),
            ..Defaults::default()
        }
    }

    #[test]
    fn an_option_wins_over_the_images_word_and_docker_says_the_rest() {
        let asked = cli::Health {
            health_timeout: Some("1s".to_owned()),
            ..cli::Health::default()
        };
        let made = of(&asked, &image(&["CMD-SHELL", "exit 0"])).expect("good");
        let made = made.expect("a check");
        assert_eq!(made.command, ["/bin/sh", "-c", "exit 0"]);
        assert_eq!((made.interval_ms, made.timeout_ms), (2_000, 1_000));
        assert_eq!((made.start_period_ms, made.retries), (0, 3));
    }

    #[test]
    fn a_check_can_be_refused_by_image_and_command_line() {
        let none = cli::Health {
            no_healthcheck: true,
            ..cli::Health::default()
        };
        assert_eq!(of(&none, &image(&["CMD", "true"])).expect("good"), None);
        let bare = cli::Health::default();
        assert_eq!(of(&bare, &image(&["NONE"])).expect("good"), None);
        assert!(of(&bare, &image(&["CMD"])).is_err());
        let retries = cli::Health {
            health_retries: Some(1),
            ..cli::Health::default()
        };
        assert!(of(&retries, &Defaults::default()).is_err());
    }
}
