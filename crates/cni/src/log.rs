//! Free text for people on stderr, which kubelet and containerd keep: one line per event.
//! Installed by `main`; `boundary.rs` says whom the lines are about.
//! Must never write to stdout.
//!
//! A subscriber of our own: tracing-subscriber's registry costs 27 microseconds to set up, of a process
//! that does an ADD in 2,000, and needs spans for what is one request here.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber, span};

/// What every line begins with, once the request is known.
static ABOUT: OnceLock<String> = OnceLock::new();

/// Installs the process's subscriber. `WHARFLINE_LOG_LEVEL` (`error` to `trace`, or `off`) says what is
/// written; `warn` unless said.
pub(crate) fn install() {
    let level = std::env::var("WHARFLINE_LOG_LEVEL").ok();
    let level = level
        .and_then(|l| l.parse().ok())
        .unwrap_or(LevelFilter::WARN);
    // Refused only where one is installed already, which then stays.
    let _ = tracing::subscriber::set_global_default(ToStderr { level });
}

/// Has every line from now on begin with `about`: plugin, verb, network, container, interface.
pub(crate) fn about(about: impl FnOnce() -> String) {
    ABOUT.get_or_init(about);
}

struct ToStderr {
    level: LevelFilter,
}

impl Subscriber for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        // Whole lines, in one write: other threads and children write there too. A stderr that nobody
        // reads is no reason to fail.
        let _ = io::stderr().write_all(line(event).as_bytes());
    }

    // Spans say nothing here: a process serves one request, and ABOUT is its name.
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
    let about = ABOUT.get().map_or("", String::as_str);
    format!(
        "{} {about}{}{}\n",
        event.metadata().level(),
        fields.message,
        fields.others
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Keeps lines instead of writing them.
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(line(event));
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_line_has_level_message_and_fields() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Kept(lines.clone()), || {
            tracing::warn!(code = 11, "lock {}: busy", "lab");
        });
        let lines = lines.lock().unwrap();
        assert!(
            lines[0].starts_with("WARN ") && lines[0].ends_with("lock lab: busy code=11\n"),
            "{lines:?}"
        );
    }
}
