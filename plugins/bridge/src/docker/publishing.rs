//! ProgramExternalConnectivity and its end: the ports of an endpoint, by the plugin's second driver.
//! `kind` calls it while the endpoint has its turn.
//! It must never leave a port published that its endpoint has not asked for any more.

use wharfline_core::engine::{Attach, Engine};
use wharfline_core::error::Error;
use wharfline_core::ipam::NO_IPAM;
use wharfline_docker::Refusal;
use wharfline_docker::host::Network;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::network::OfEndpoint;
use wharfline_spec::names::ContainerId;

use super::kept_ports::Ports;
use super::network::DockerNetwork;
use super::ports::PortsDriver;
use super::published::{Chosen, choose, nothing, still_stands};

/// Publishes what is asked; repeated for the same ports, and for others.
pub(crate) fn publish(
    network: &Network<DockerNetwork>,
    of: &OfEndpoint,
    asked: Vec<PortBinding>,
) -> Result<(), Refusal> {
    let (addresses, sandbox, repeated) = {
        let endpoints = network.endpoints();
        let endpoint = endpoints
            .get(&of.endpoint)
            .ok_or_else(|| Refusal::new(format!("endpoint {} is not known", of.endpoint)))?;
        let ports = &endpoint.extra;
        let repeated = (ports.asked == asked).then(|| ports.done.clone());
        (
            endpoint.addresses.clone(),
            endpoint.sandbox.clone(),
            repeated,
        )
    };
    // dockerd repeats itself when another network is joined or left.
    if let Some(done) = repeated
        && still_stands(&network.docker, &addresses, &done)?
    {
        return Ok(());
    }
    revoke(network, &of.endpoint)?;
    let Chosen { config, kept } = choose(&network.docker, &addresses, &asked)?;
    let ports = Ports {
        asked,
        done: config.ports.clone(),
        kept,
    };
    if !(config.ports.is_empty() && config.open.is_empty()) {
        let attach = Attach {
            netns: sandbox,
            labels: ports.labels(),
            ..network.attachment(&of.endpoint)
        };
        Engine::new(&PortsDriver, &config, &NO_IPAM).add_half(&attach)?;
    }
    if let Some(endpoint) = network.endpoints().get_mut(&of.endpoint) {
        endpoint.extra = ports;
    }
    Ok(())
}

/// Publishes none of them any more.
pub(crate) fn revoke(network: &Network<DockerNetwork>, id: &ContainerId) -> Result<(), Error> {
    // Without any port, as most are: no record, nothing in the tables.
    if let Some(endpoint) = network.endpoints().get(id)
        && endpoint.extra.asked.is_empty()
    {
        return Ok(());
    }
    let config = nothing(&network.docker, &[]).config;
    Engine::new(&PortsDriver, &config, &NO_IPAM).del(&network.attachment(id))?;
    if let Some(endpoint) = network.endpoints().get_mut(id) {
        endpoint.extra = Ports::default();
    }
    Ok(())
}
