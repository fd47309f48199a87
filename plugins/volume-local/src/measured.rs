//! How many volumes there are and how many are mounted: the gauges that Prometheus reads.
//! `driver` answers with it when somebody reads the metrics.
//! It must never ask a file system: a reader would wait for a dead one.

use std::collections::BTreeMap;

use wharfline_docker::Gauge;

use crate::driver::Volumes;

/// The gauges, of now.
pub(crate) fn gauges(volumes: &Volumes) -> Vec<Gauge> {
    let mut kinds: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for volume in volumes.every() {
        let (all, mounted) = kinds.entry(volume.about().kind.name()).or_default();
        *all += 1.0;
        if !volume.held().is_free() {
            *mounted += 1.0;
        }
    }
    let of = |(kind, (all, mounted)): (&'static str, (f64, f64))| {
        let labels = vec![("backend", kind.to_owned())];
        [
            Gauge {
                name: "wharfline_volumes",
                help: "Volumes of this host that the driver has.",
                labels: labels.clone(),
                value: all,
            },
            Gauge {
                name: "wharfline_volumes_mounted",
                help: "Volumes that somebody has mounted.",
                labels,
                value: mounted,
            },
        ]
    };
    kinds.into_iter().flat_map(of).collect()
}
