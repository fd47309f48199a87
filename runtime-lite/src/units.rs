//! Sizes, times and signals as people write them: 512m, 1.5h, SIGTERM.
//! The options of many commands are read with it.
//! It must never guess: what is not of the form is refused.

use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use wharf_protocol::clock;

use crate::error::{Error, Result};

fn bad(given: &str, rule: &'static str) -> Error {
    Error::BadValue {
        given: given.to_owned(),
        rule,
    }
}

/// A number of bytes, with b, k, m, g or t (powers of 1024).
pub(crate) fn bytes(given: &str) -> Result<u64> {
    let refuse = || bad(given, "is not a size like 512m or 2g");
    let text = given.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.chars().last() {
        Some('k') => (text.get(..text.len() - 1), 10),
        Some('m') => (text.get(..text.len() - 1), 20),
        Some('g') => (text.get(..text.len() - 1), 30),
        Some('t') => (text.get(..text.len() - 1), 40),
        _ => (Some(text), 0),
    };
    let number: u64 = digits.unwrap_or_default().parse().map_err(|_| refuse())?;
    number.checked_mul(1 << shift).ok_or_else(refuse)
}

/// A number of bytes for people.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 2 };
    format!("{value:.digits$}{}", units.get(unit).unwrap_or(&""))
}

/// A length of time: numbers with ns, us, ms, s, m or h, one after the other.
pub(crate) fn duration(given: &str) -> Result<Duration> {
    let refuse = || bad(given, "is not a time like 500ms, 30s or 1h30m");
    let mut rest = given;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refuse)?;
        let (digits, after) = rest.split_at(number);
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(refuse()),
        };
        seconds += digits.parse::<f64>().map_err(|_| refuse())? * factor;
        rest = after;
    }
    match given.is_empty() {
        true => Err(refuse()),
        false => Duration::try_from_secs_f64(seconds).map_err(|_| refuse()),
    }
}

/// A point in time, or how long ago it is: nanoseconds since 1970.
pub(crate) fn moment(given: &str) -> Result<i128> {
    if let Some(time) = clock::parse(given) {
        return Ok(time);
    }
    if let Ok(seconds) = given.parse::<u32>() {
        return Ok(i128::from(seconds) * 1_000_000_000);
    }
    let ago = duration(given).map_err(|_| {
        bad(
            given,
            "is neither a time like 2026-11-22T01:30:00Z nor a length like 10m",
        )
    })?;
    let now = clock::parse(&clock::stamp()).unwrap_or_default();
    Ok(now - ago.as_nanos().cast_signed())
}

/// A signal by name (TERM, SIGTERM) or number; real-time signals by number.
pub(crate) fn signal(given: &str) -> Result<i32> {
    if let Ok(number) = given.parse::<i32>()
        && (1..=64).contains(&number)
    {
        return Ok(number);
    }
    let upper = given.to_ascii_uppercase();
    let name = match upper.strip_prefix("SIG") {
        Some(_) => upper,
        None => format!("SIG{upper}"),
    };
    let signal = Signal::from_str(&name).map_err(|_| bad(given, "is not a signal"))?;
    Ok(signal as i32)
}

/// A number of processors in thousandths.
pub(crate) fn millicpus(given: &str) -> Result<u64> {
    match given.parse::<f64>() {
        Ok(number) if (0.01..1e6).contains(&number) => Ok((number * 1_000.0).round() as u64),
        _ => Err(bad(given, "is not a number of processors like 0.5 or 2")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(bytes("512m").expect("a size"), 512 << 20);
        assert_eq!(bytes("2GB").expect("a size"), 2 << 30);
        assert_eq!(bytes("7").expect("a size"), 7);
        for wrong in ["", "m", "-1", "1x", "99999999999t"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_bytes(1536), "1.50KiB");
    }

    #[test]
    fn times_are_sums_of_units() {
        assert_eq!(duration("1h30m").expect("a time").as_secs(), 5_400);
        assert_eq!(duration("1.5s").expect("a time").as_millis(), 1_500);
        for wrong in ["", "5", "s", "1x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for term in ["15", "TERM", "sigterm"] {
            assert_eq!(signal(term).expect("a signal"), 15);
        }
        assert!(signal("SIGNONE").is_err());
        assert!(signal("0").is_err());
    }
}
