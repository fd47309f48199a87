//! When a container is started again, and how it is asked whether it is well: parts of `container.json`.
//! `wharf` writes them, the shim acts on them.
//! They never hold what has happened: that is `status.json`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The `--restart` option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whenever it ends, unless it was stopped; and after a reboot, stopped or not.
    Always,
    /// Whenever it ends, and after a reboot, unless it was stopped.
    UnlessStopped,
    /// When it ends with another status than 0.
    OnFailure {
        /// So often at most; without it, for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most: Option<u32>,
    },
}

impl Restart {
    /// Whether a container that ended with `code` by itself, after `restarts` restarts, is started again.
    pub fn applies(self, code: i32, restarts: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { at_most } => {
                code != 0 && at_most.is_none_or(|most| restarts < most)
            }
        }
    }
}

/// How long to wait before the next start: 100 ms, twice that each time, a minute at most; from the beginning again
/// after a run of ten seconds. It is Docker's rule.
pub fn back_off(last: Option<Duration>, ran: Duration) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(60);
    match last {
        Some(last) if ran < Duration::from_secs(10) => (last * 2).min(MOST),
        _ => FIRST,
    }
}

/// The `--health-*` options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The command and its arguments, executed in the container.
    pub command: Vec<String>,
    /// From the end of one probe to the next, in milliseconds.
    pub interval_ms: u64,
    /// How long a probe may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long failures do not count after the start, in milliseconds.
    pub start_period_ms: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// The part of `container.json` that a shim reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// When to start again.
    #[serde(default)]
    pub restart: Restart,
    /// How to ask whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Another OCI runtime to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<std::path::PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_when() {
        let never = Restart::OnFailure { at_most: Some(2) };
        assert!(!Restart::No.applies(1, 0));
        assert!(Restart::Always.applies(0, 1_000));
        assert!(!never.applies(0, 0));
        assert!(never.applies(1, 1));
        assert!(!never.applies(1, 2));
        assert!(Restart::OnFailure { at_most: None }.applies(1, 1_000));
    }

    #[test]
    fn waiting_doubles_up_to_a_minute_and_begins_again_after_a_long_run() {
        let short = Duration::from_secs(1);
        let first = back_off(None, short);
        assert_eq!(first, Duration::from_millis(100));
        assert_eq!(back_off(Some(first), short), Duration::from_millis(200));
        let long = Duration::from_secs(50);
        assert_eq!(back_off(Some(long), short), Duration::from_secs(60));
        assert_eq!(back_off(Some(long), Duration::from_secs(10)), first);
    }

    #[test]
    fn orders_are_read_from_among_other_keys() {
        let text = r#"{"id": "x", "restart": {"on-failure": {"at_most": 3}}}"#;
        let orders: Orders = serde_json::from_str(text).expect("orders");
        assert_eq!(orders.restart, Restart::OnFailure { at_most: Some(3) });
        let none: Orders = serde_json::from_str("{}").expect("orders");
        assert_eq!(none, Orders::default());
    }
}
