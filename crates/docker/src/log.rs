//! One line for each call on stderr, which systemd and dockerd keep: what, on which objects, how long, how many steps,
//! what came of it. Warnings of the domain stand between them.
//! It must never write a body: it may hold what is nobody else's business.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::time::Duration;

use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::refusal::Refusal;

thread_local! {
    /// Operations of the call that runs on this thread.
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Which objects a call is about, as far as its body says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Subject {
    #[serde(rename = "NetworkID")]
    network: Option<String>,
    #[serde(rename = "EndpointID")]
    endpoint: Option<String>,
    #[serde(rename = "PoolID")]
    pool: Option<String>,
    #[serde(rename = "Pool")]
    subnet: Option<String>,
    address: Option<String>,
    /// Of a volume; ours spell it small.
    #[serde(alias = "name")]
    name: Option<String>,
    #[serde(rename = "ID")]
    user: Option<String>,
}

impl Subject {
    /// What the body says; nothing where it cannot be read.
    pub(crate) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// How much of an identifier people look at (as `docker ps` shows).
const SHORT: usize = 12;

/// Writes the line of one call. `spent` is its time and its steps.
pub(crate) fn call(
    path: &str,
    subject: &Subject,
    outcome: &Result<Vec<u8>, Refusal>,
    (time, steps): (Duration, u32),
) {
    let mut about = String::new();
    for (key, value) in [
        ("network", &subject.network),
        ("endpoint", &subject.endpoint),
        ("pool", &subject.pool),
        ("subnet", &subject.subnet),
        ("address", &subject.address),
        ("volume", &subject.name),
        ("user", &subject.user),
    ] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else {
            continue;
        };
        let is_id = matches!(key, "network" | "endpoint" | "user");
        let shown: String = value
            .chars()
            .take(if is_id { SHORT } else { 200 })
            .collect();
        let _ = write!(about, " {key}={shown:?}");
    }
    let ms = time.as_secs_f64() * 1000.0;
    let spent = format_args!("ms={ms:.3} steps={steps}");
    match outcome {
        Ok(_) => tracing::info!("call={path:?}{about} {spent} outcome=done"),
        Err(refusal) => {
            let told = refusal.to_string();
            tracing::warn!("call={path:?}{about} {spent} outcome=refused error={told:?}");
        }
    }
}

/// Begins to count the operations of a call on this thread.
pub(crate) fn begin_steps() {
    STEPS.set(0);
}

/// How many there were.
pub(crate) fn steps() -> u32 {
    STEPS.get()
}

/// Installs the process's subscriber. `WHARFLINE_LOG_LEVEL` (`error` to `trace`, or `off`) says what is written;
/// `info` unless said.
pub(crate) fn install() {
    let level = std::env::var("WHARFLINE_LOG_LEVEL").ok();
    let level = level
        .and_then(|l| l.parse().ok())
        .unwrap_or(LevelFilter::INFO);
    // Refused only where one is installed already, which then stays.
    let _ = tracing::subscriber::set_global_default(ToStderr { level });
}

struct ToStderr {
    level: LevelFilter,
}

impl ToStderr {
    fn writes(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }
}

/// The engine tells each operation at this level.
fn is_step(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::DEBUG && metadata.target().starts_with("wharfline_core")
}

impl Subscriber for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.writes(metadata) || is_step(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if is_step(event.metadata()) {
            STEPS.set(STEPS.get() + 1);
        }
        if self.writes(event.metadata()) {
            // Whole lines, in one write: several threads write. A stderr that nobody reads is no reason to fail.
            let _ = io::stderr().write_all(line(event).as_bytes());
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn line(event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let level = event.metadata().level().as_str().to_lowercase();
    format!("level={level} {}{}\n", fields.message, fields.others)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}
