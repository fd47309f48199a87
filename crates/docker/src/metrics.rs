//! What is counted of the calls, and what the driver measures of itself, in Prometheus' text format.
//! `exchange` counts; `scrape` asks for the text.
//! It must never have a label that a client chooses: each value of one is a time series for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::refusal::Refusal;

/// Bounds of the histogram in seconds: a call takes one to three milliseconds, deleting a link twenty, and dockerd gives
/// up after some thirty seconds.
const BOUNDS: [f64; 13] = [
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// One value that the driver measures when Prometheus asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Name of the metric: `[a-z_]+`, with the unit where there is one.
    pub name: &'static str,
    /// What it is, in a sentence. The same for all of one name.
    pub help: &'static str,
    /// Which one of several it is. The same names in the same order for all of one name.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// The counters of a server's calls.
pub(crate) struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let calls = Opts::new(
            "wharfline_docker_calls_total",
            "Calls of Docker's plugin protocol that were answered, by call and outcome (done or refused).",
        );
        let seconds = HistogramOpts::new(
            "wharfline_docker_call_seconds",
            "Time from the request's head to the answer.",
        );
        let metrics = Self {
            registry: Registry::new(),
            calls: IntCounterVec::new(calls, &["call", "outcome"])?,
            seconds: HistogramVec::new(seconds.buckets(BOUNDS.to_vec()), &["call"])?,
        };
        metrics.registry.register(Box::new(metrics.calls.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }

    /// Counts one call. A path that no call has counts as `unknown`, whatever it is.
    pub(crate) fn count(&self, path: &str, outcome: &Result<Vec<u8>, Refusal>, spent: Duration) {
        let (call, outcome) = match outcome {
            Ok(_) => (path, "done"),
            Err(refusal) if is_before_dispatch(refusal.status()) => ("unknown", "refused"),
            Err(_) => (path, "refused"),
        };
        let call = call.trim_start_matches('/');
        self.calls.with_label_values(&[call, outcome]).inc();
        let seconds = self.seconds.with_label_values(&[call]);
        seconds.observe(spent.as_secs_f64());
    }

    /// All that was counted, and `gauges`, in the text format 0.0.4.
    ///
    /// # Errors
    /// Two gauges of one name with different labels.
    pub(crate) fn text(&self, gauges: &[Gauge]) -> prometheus::Result<String> {
        let measured = Registry::new();
        let mut by_name: BTreeMap<&str, GaugeVec> = BTreeMap::new();
        for gauge in gauges {
            let names: Vec<&str> = gauge.labels.iter().map(|(name, _)| *name).collect();
            let values: Vec<&str> = gauge.labels.iter().map(|(_, value)| &**value).collect();
            if !by_name.contains_key(gauge.name) {
                let vector = GaugeVec::new(Opts::new(gauge.name, gauge.help), &names)?;
                measured.register(Box::new(vector.clone()))?;
                by_name.insert(gauge.name, vector);
            }
            let one = by_name[gauge.name].get_metric_with_label_values(&values)?;
            one.set(gauge.value);
        }
        let mut families = self.registry.gather();
        families.extend(measured.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

/// Whether the request was refused before it was known to be one of the calls.
fn is_before_dispatch(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PAYLOAD_TOO_LARGE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(pool: &str, value: f64) -> Gauge {
        Gauge {
            name: "pool_free",
            help: "Free.",
            labels: vec![("pool", pool.to_owned())],
            value,
        }
    }

    #[test]
    fn calls_are_counted_by_name_and_outcome_and_nonsense_is_one_name() {
        let metrics = Metrics::new().expect("metrics");
        let spent = Duration::from_micros(1500);
        metrics.count("/NetworkDriver.Join", &Ok(Vec::new()), spent);
        metrics.count("/NetworkDriver.Join", &Err(Refusal::new("no")), spent);
        for path in ["/a", "/b"] {
            metrics.count(path, &Err(Refusal::unknown_path(path)), spent);
        }
        let text = metrics.text(&[]).expect("text");
        for line in [
            "# TYPE wharfline_docker_calls_total counter",
            r#"wharfline_docker_calls_total{call="NetworkDriver.Join",outcome="done"} 1"#,
            r#"wharfline_docker_calls_total{call="NetworkDriver.Join",outcome="refused"} 1"#,
            r#"wharfline_docker_calls_total{call="unknown",outcome="refused"} 2"#,
            r#"wharfline_docker_call_seconds_bucket{call="NetworkDriver.Join",le="0.001"} 0"#,
            r#"wharfline_docker_call_seconds_bucket{call="NetworkDriver.Join",le="0.002"} 2"#,
            r#"wharfline_docker_call_seconds_count{call="NetworkDriver.Join"} 2"#,
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in:\n{text}");
        }
        assert!(
            !text.contains("\"/a\"") && !text.contains("\"a\""),
            "{text}"
        );
    }

    #[test]
    fn gauges_of_one_name_are_one_family_and_values_are_escaped() {
        let metrics = Metrics::new().expect("metrics");
        let text = metrics
            .text(&[
                gauge("a\"\n", 1.0),
                gauge("b", 18_446_744_073_709_551_615.0),
            ])
            .expect("text");
        assert_eq!(text.matches("# TYPE pool_free gauge").count(), 1);
        assert!(text.contains("pool_free{pool=\"a\\\"\\n\"} 1\n"), "{text}");
        let mut other = gauge("c", 1.0);
        other.labels.clear();
        assert!(metrics.text(&[gauge("a", 1.0), other]).is_err());
    }
}
