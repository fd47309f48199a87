//! Free text for people: tracing to stderr, which kubelet and containerd keep.
//! Installed by `main`; the level comes from `WHARFLINE_LOG_LEVEL`, `warn` unless said.
//! Must never write to stdout.

use std::io;

use tracing::level_filters::LevelFilter;

/// Installs the process's subscriber.
pub(crate) fn install() {
    let level = std::env::var("WHARFLINE_LOG_LEVEL").ok();
    let level = level
        .and_then(|l| l.parse().ok())
        .unwrap_or(LevelFilter::WARN);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    // A second installation in one process (tests) keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
