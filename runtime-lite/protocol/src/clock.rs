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

/// `seconds` since 1970 as RFC 3339 in UTC: `2026-11-22T01:30:00Z`. Years have four digits: later is the end of 9999.
pub fn rfc3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(END_OF_9999));
    humantime::format_rfc3339_seconds(time).to_string()
}

const END_OF_9999: u64 = 253_402_300_799;

/// This moment as RFC 3339 in UTC with nanoseconds, the stamp of a log line: `2026-11-22T01:30:00.000000001Z`.
pub fn stamp() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}

/// Reads what [`rfc3339`] and [`stamp`] write, and the same with an offset (`+01:00`) or without seconds:
/// nanoseconds since 1970. `None` if it is not of that form.
pub fn parse(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, "Z"),
    };
    let seconds = if clock.len() == "00:00".len() {
        ":00"
    } else {
        ""
    };
    let utc = humantime::parse_rfc3339(&format!("{date}T{clock}{seconds}Z")).ok()?;
    let nanoseconds = utc.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    Some(nanoseconds.cast_signed() - offset_seconds(offset)? * 1_000_000_000)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_past_all_calendars_is_the_last_one() {
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
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
