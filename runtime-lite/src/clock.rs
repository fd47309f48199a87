//! Points in time for people: RFC 3339 in files, "3 minutes ago" in tables.
//! `container` stamps with it, `ps` shows it.
//! It must never be used to decide anything: clocks jump.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, as seconds since 1970 (UTC).
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// `seconds` since 1970 as RFC 3339 in UTC: `2026-11-22T01:30:00Z`.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        seconds % 60
    )
}

/// How long ago `seconds` since 1970 was, in its largest unit.
pub(crate) fn ago(seconds: u64, now: u64) -> String {
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
}
