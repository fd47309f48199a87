//! How many networks and endpoints there are: the gauges that Prometheus reads.
//! The server asks for them when somebody reads the metrics.
//! It must never ask the kernel: a reader would pay for it every few seconds.

use super::kind::NetworkKind;
use super::networks::{Network, Networks};
use crate::metrics::Gauge;

impl<K: NetworkKind> Networks<K> {
    /// The gauges, of now.
    pub(crate) fn measured(&self) -> Vec<Gauge> {
        let networks = self.all();
        let mut gauges = vec![Gauge {
            name: "wharfline_docker_networks",
            help: "Docker networks of this host that the driver has.",
            labels: Vec::new(),
            value: networks.len() as f64,
        }];
        for network in &networks {
            gauges.push(Gauge {
                name: "wharfline_docker_endpoints",
                help: "Endpoints of a network.",
                labels: network.labels(),
                value: network.endpoints().len() as f64,
            });
            gauges.extend(K::gauges(network));
        }
        gauges
    }
}

impl<K: NetworkKind> Network<K> {
    /// The labels of all that is measured of it.
    pub fn labels(&self) -> Vec<(&'static str, String)> {
        let id = self.docker.id().to_string();
        vec![("network", id), self.docker.link_label()]
    }
}
