//! Leases as a table for people and as JSON for programs.
//! Called by the commands with what they found, freed or reserved.
//! Must never cut an address or an id short: people paste them into the next command.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharfline_ipam::operator::Entry;

const HEADINGS: [&str; 5] = ["NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "AGE"];

/// The leases, one on a line below the headings, the columns as wide as they need.
pub(crate) fn table(entries: &[Entry]) -> String {
    let rows: Vec<[String; 5]> = entries.iter().map(row).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(HEADINGS.map(str::to_owned)).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The leases as a list of objects; times are in seconds since 1970.
pub(crate) fn json(entries: &[Entry]) -> String {
    let list: Vec<Value> = entries.iter().map(object).collect();
    format!("{:#}\n", Value::Array(list))
}

fn row(entry: &Entry) -> [String; 5] {
    let [container, interface] = holder(entry).map(|part| part.unwrap_or("-").to_owned());
    let age = entry.written.map_or_else(|| "-".to_owned(), age);
    [
        entry.network.to_string(),
        entry.addr.to_string(),
        container,
        interface,
        age,
    ]
}

fn object(entry: &Entry) -> Value {
    let [container, interface] = holder(entry);
    let written = entry
        .written
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "network": entry.network.as_str(),
        "address": entry.addr.to_string(),
        "container": container,
        "interface": interface,
        "written": written.map(|since| since.as_secs()),
    })
}

/// Container and interface; what the operator reserved is the host's.
fn holder(entry: &Entry) -> [Option<&str>; 2] {
    match &entry.holder {
        Some(holder) if holder.is_operator() => [Some("(reserved)"), None],
        Some(holder) => [Some(holder.container()), holder.ifname()],
        None => [None, None],
    }
}

/// The two largest units: `3d4h`, `12m5s`, `0s`.
fn age(written: SystemTime) -> String {
    let seconds = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default()
        .as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}
