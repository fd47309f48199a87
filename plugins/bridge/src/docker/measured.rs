//! How many networks, endpoints and published ports there are: the gauges that Prometheus reads.
//! `crates/docker` asks for them when somebody reads the metrics.
//! It must never ask the kernel: a reader would pay for it every few seconds.

use wharfline_docker::Gauge;

use super::networks::{DockerBridge, Network};

impl DockerBridge {
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
            let endpoints = network.endpoints();
            let ports: usize = endpoints.values().map(|own| own.ports.done.len()).sum();
            let endpoints = endpoints.len();
            gauges.push(Gauge {
                name: "wharfline_docker_endpoints",
                help: "Endpoints of a network.",
                labels: labels(network),
                value: endpoints as f64,
            });
            gauges.push(Gauge {
                name: "wharfline_docker_published_ports",
                help: "Ports of the host that lead to endpoints of a network.",
                labels: labels(network),
                value: ports as f64,
            });
        }
        gauges
    }
}

fn labels(network: &Network) -> Vec<(&'static str, String)> {
    vec![
        ("network", network.docker.id.to_string()),
        ("bridge", network.docker.config.bridge.to_string()),
    ]
}
