//! Points in time for people: RFC 3339 in files, "3 minutes ago" in tables.
//! The shim stamps logs and states with it, `wharf` shows and reads them.
//! It must never be used to decide how long to wait: clocks jump.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, as seconds since 1970 (UTC).
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// `seconds` since 1970 as RFC 3339 in UTC: `2026-11-22T01:30:00Z`.
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        seconds % 60
    )
}

/// This moment as RFC 3339 in UTC with nanoseconds, the stamp of a log line: `2026-11-22T01:30:00.000000001Z`.
pub fn stamp() -> String {
    let passed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let whole = rfc3339(passed.as_secs());
    let whole = whole.trim_end_matches('Z');
    format!("{whole}.{:09}Z", passed.subsec_nanos())
}

/// Reads what [`rfc3339`] and [`stamp`] write, and the same with an offset (`+01:00`) or without seconds' fractions:
/// nanoseconds since 1970. `None` if it is not of that form.
pub fn parse(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut numbers = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, "Z"),
    };
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = i128::from(days(year, month, day)) * 86_400;
    Some((seconds - offset_seconds(offset)?) * 1_000_000_000 + nanoseconds(clock)?)
}

/// `Z`, `+01:00` or `-0730`, in seconds east of Greenwich.
fn offset_seconds(text: &str) -> Option<i128> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number: i128 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    Some(sign * (number / 100 * 3_600 + number % 100 * 60))
}

/// `HH:MM[:SS[.fraction]]` in nanoseconds.
fn nanoseconds(clock: &str) -> Option<i128> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut numbers = whole.split(':').map(str::parse::<i128>);
    let (hour, minute) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let second = match numbers.next() {
        Some(second) => second.ok()?,
        None => 0,
    };
    let padded: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some((hour * 3_600 + minute * 60 + second) * 1_000_000_000 + padded.parse::<i128>().ok()?)
}

/// How long ago `seconds` since 1970 was, in its largest unit.
pub fn ago(seconds: u64, now: u64) -> String {
    let passed = now.saturating_sub(seconds);
    let (count, unit) = match passed {
        0..60 => (passed, "second"),
        60..3_600 => (passed / 60, "minute"),
        3_600..86_400 => (passed / 3_600, "hour"),
        _ => (passed / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last; 400 years have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        assert_eq!(ago(100, 101), "1 second ago");
        assert_eq!(ago(0, 7_200), "2 hours ago");
        assert_eq!(ago(200, 100), "0 seconds ago");
    }

    #[test]
    fn a_written_time_is_read_again() {
        for seconds in [0, 951_782_400, 951_868_799, 4_107_542_400] {
            let read = parse(&rfc3339(seconds)).expect("a time");
            assert_eq!(read, i128::from(seconds) * 1_000_000_000);
        }
        let nano = parse("1970-01-01T00:00:01.000000002Z");
        assert_eq!(nano, Some(1_000_000_002));
        assert_eq!(parse("1970-01-01T01:00+01:00"), Some(0));
        for bad in [
            "",
            "yesterday",
            "1970-13-01T00:00:00Z",
            "1970-01-01",
            "1970-01-01T00:00:00+1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
