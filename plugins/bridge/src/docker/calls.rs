//! The calls about endpoints: the host's half of a container's link, made, handed to dockerd and taken away.
//! `crates/docker` calls them, several at a time; those of one endpoint come one after another.
//! It must never answer what a request had settled already: dockerd refuses the whole endpoint then.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_cni::mac;
use wharfline_core::engine::{Attach, Engine};
use wharfline_core::error::Error;
use wharfline_core::ipam::{GivenIpam, NO_IPAM};
use wharfline_docker::{Gauge, NetworkDriver, Refusal};
use wharfline_spec::cni::mac_text;
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::network::{
    CreateEndpoint, CreateNetwork, EndpointCreated, EndpointInterface, Join, Joined, LinkName,
    OfEndpoint, OfNetwork, OperInfo,
};
use wharfline_spec::names::ContainerId;

use super::endpoint::{Endpoint, Ports, link_labels};
use super::networks::{DockerBridge, Network};
use super::ports::PortsDriver;
use super::published::{Chosen, choose, nothing, still_stands};
use super::refusal;
use crate::driver::BridgeDriver;

/// Option of an endpoint: what it publishes.
const PORTS: &str = "com.docker.network.portmap";
/// Options of an endpoint that are not for this driver, but come to it: dockerd itself does what they say.
const FOR_DOCKERD: [&str; 2] = [
    "com.docker.network.endpoint.",
    "com.docker.network.driver.private.",
];

impl NetworkDriver for DockerBridge {
    fn activated(&self) {
        for network in self.all() {
            network.evict_dead();
        }
    }

    fn create_network(&self, network: CreateNetwork) -> Result<(), Refusal> {
        self.create(network)
    }

    fn delete_network(&self, of: &OfNetwork) -> Result<(), Refusal> {
        self.delete(of)
    }

    fn create_endpoint(&self, request: &CreateEndpoint) -> Result<EndpointCreated, Refusal> {
        refuse_unknown(&request.options)?;
        let network = self.network(&request.of.network)?;
        let asked = Asked::parse(&request.interface)?;
        network.make_room(&request.of.endpoint, &asked.addresses)?;
        let _turn = network.turn(&request.of.endpoint);
        let known = network.endpoints().contains_key(&request.of.endpoint);
        if known {
            // An answer that was lost; what it was about may be another address by now.
            network.remove(&request.of.endpoint).map_err(refusal)?;
        }
        let mac = network
            .attach(&request.of.endpoint, &asked)
            .map_err(refusal)?;
        Ok(EndpointCreated {
            interface: EndpointInterface {
                mac: match asked.mac {
                    Some(_) => String::new(),
                    None => mac_text(mac),
                },
                ..EndpointInterface::default()
            },
        })
    }

    fn delete_endpoint(&self, of: &OfEndpoint) -> Result<(), Refusal> {
        match self.find(&of.network) {
            Some(network) => {
                let _turn = network.turn(&of.endpoint);
                network.remove(&of.endpoint).map_err(refusal)
            }
            None => Ok(()),
        }
    }

    fn info(&self, of: &OfEndpoint) -> Result<OperInfo, Refusal> {
        let network = self.network(&of.network)?;
        let endpoints = network.endpoints();
        let endpoint = endpoints.get(&of.endpoint).ok_or_else(|| unknown(of))?;
        let key = network.docker.key(&of.endpoint);
        let mut value = Map::new();
        let mut say = |key: &str, told: Value| value.insert(key.to_owned(), told);
        say(
            "com.docker.network.endpoint.macaddress",
            mac_text(endpoint.mac).into(),
        );
        say(PORTS, endpoint.ports.shown());
        say(
            "wharfline.bridge",
            network.docker.config.bridge.to_string().into(),
        );
        say("wharfline.link", key.host_end(0).to_string().into());
        Ok(OperInfo { value })
    }

    fn join(&self, join: &Join) -> Result<Joined, Refusal> {
        let network = self.network(&join.of.network)?;
        let _turn = network.turn(&join.of.endpoint);
        let sandbox = PathBuf::from(&join.sandbox);
        let known = network.endpoints().contains_key(&join.of.endpoint);
        if known {
            let moved = network.moved(&join.of.endpoint, Some(&sandbox));
            moved.map_err(refusal)?;
        }
        let mut endpoints = network.endpoints();
        let endpoint = endpoints.get_mut(&join.of.endpoint);
        let endpoint = endpoint.ok_or_else(|| unknown(&join.of))?;
        endpoint.sandbox = Some(sandbox);
        Ok(network.joined(&join.of.endpoint, endpoint))
    }

    fn leave(&self, of: &OfEndpoint) -> Result<(), Refusal> {
        let Some(network) = self.find(&of.network) else {
            return Ok(());
        };
        let _turn = network.turn(&of.endpoint);
        if let Some(endpoint) = network.endpoints().get_mut(&of.endpoint) {
            endpoint.sandbox = None;
        }
        network.moved(&of.endpoint, None).map_err(refusal)
    }

    fn publish(&self, request: &CreateEndpoint) -> Result<(), Refusal> {
        let network = self.network(&request.of.network)?;
        let mut asked = bindings(&request.options)?;
        asked.sort_unstable();
        asked.dedup();
        let _turn = network.turn(&request.of.endpoint);
        network.publish(&request.of, asked)
    }

    fn revoke(&self, of: &OfEndpoint) -> Result<(), Refusal> {
        match self.find(&of.network) {
            Some(network) => {
                let _turn = network.turn(&of.endpoint);
                network.revoke(&of.endpoint).map_err(refusal)
            }
            None => Ok(()),
        }
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.measured()
    }
}

/// What a request settles of an interface.
struct Asked {
    addresses: Vec<IpNetwork>,
    mac: Option<MacAddr6>,
}

impl Asked {
    fn parse(interface: &EndpointInterface) -> Result<Self, Refusal> {
        let texts = [&interface.address, &interface.address_ipv6];
        let given = texts.into_iter().filter(|text| !text.is_empty());
        let addresses: Result<Vec<IpNetwork>, Refusal> = given
            .map(|text| {
                let address = text.parse();
                address.map_err(|_| Refusal::malformed(format!("address {text:?} is none")))
            })
            .collect();
        let mac = Some(interface.mac.as_str()).filter(|mac| !mac.is_empty());
        let mac = mac.map(|mac| mac::unicast("MacAddress", mac)).transpose();
        Ok(Self {
            addresses: addresses?,
            mac: mac.map_err(|e| Refusal::new(e.msg))?,
        })
    }
}

fn unknown(of: &OfEndpoint) -> Refusal {
    Refusal::new(format!("endpoint {} is not known", of.endpoint))
}

fn refuse_unknown(options: &Map<String, Value>) -> Result<(), Refusal> {
    let is_known = |name: &str| name == PORTS || FOR_DOCKERD.iter().any(|p| name.starts_with(p));
    match options.keys().find(|name| !is_known(name)) {
        Some(name) => Err(Refusal::new(format!(
            "option {name} of an endpoint is not known"
        ))),
        None => Ok(()),
    }
}

fn bindings(options: &Map<String, Value>) -> Result<Vec<PortBinding>, Refusal> {
    match options.get(PORTS) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(given) => serde_json::from_value(given.clone())
            .map_err(|e| Refusal::malformed(format!("option {PORTS}: {e}"))),
    }
}

impl Network {
    /// Evicts whoever has one of the addresses and is dead: IPAM would not give out a living one's.
    fn make_room(&self, newcomer: &ContainerId, addresses: &[IpNetwork]) -> Result<(), Refusal> {
        let wanted: Vec<IpAddr> = addresses.iter().map(IpNetwork::ip).collect();
        let mut dead = Vec::new();
        for (id, endpoint) in self.endpoints().iter() {
            let Some(address) = wanted
                .iter()
                .find(|ip| endpoint.has(**ip) && id != newcomer)
            else {
                continue;
            };
            if endpoint.lives() {
                return Err(Refusal::new(format!(
                    "address {address} is endpoint {id}'s, whose container runs"
                )));
            }
            dead.push(id.clone());
        }
        for id in dead {
            tracing::warn!("endpoint {id} has died without a word: its address is another's now");
            let _turn = self.turn(&id);
            self.remove(&id).map_err(refusal)?;
        }
        Ok(())
    }

    /// Takes endpoints away whose containers have died while nobody told: dockerd never will.
    pub(crate) fn evict_dead(&self) {
        let is_dead = |endpoint: &Endpoint| endpoint.sandbox.is_some() && !endpoint.lives();
        let endpoints = self.endpoints();
        let dead = endpoints.iter().filter(|(_, endpoint)| is_dead(endpoint));
        let dead: Vec<ContainerId> = dead.map(|(id, _)| id.clone()).collect();
        drop(endpoints);
        for id in dead {
            let _turn = self.turn(&id);
            // Its own call may have come in between.
            if !self.endpoints().get(&id).is_some_and(is_dead) {
                continue;
            }
            tracing::warn!("endpoint {id} has died without a word: taken away");
            if let Err(failure) = self.remove(&id) {
                tracing::error!("{failure}");
            }
        }
    }

    fn attach(&self, id: &ContainerId, asked: &Asked) -> Result<MacAddr6, Error> {
        let lease = GivenIpam(Some(self.docker.lease(asked.addresses.iter().copied())));
        let first = asked.addresses.first().map(IpNetwork::ip);
        let mac = asked.mac.unwrap_or_else(|| self.docker.key(id).mac(first));
        let attach = Attach {
            mac: Some(mac),
            labels: link_labels(mac),
            ..self.attachment(id)
        };
        // A network without IPAM has endpoints without addresses.
        let mut config = self.docker.config.clone();
        config.has_ipam &= !asked.addresses.is_empty();
        Engine::new(&BridgeDriver, &config, &lease).add_half(&attach)?;
        let endpoint = Endpoint {
            addresses: asked.addresses.clone(),
            mac,
            sandbox: None,
            ports: Ports::default(),
        };
        self.endpoints().insert(id.clone(), endpoint);
        Ok(mac)
    }

    /// Takes an endpoint away with all that it publishes; an unknown one is looked for by its marks.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.revoke(id)?;
        let engine = Engine::new(&BridgeDriver, &self.docker.config, &NO_IPAM);
        engine.del(&self.attachment(id))?;
        self.endpoints().remove(id);
        Ok(())
    }

    fn moved(&self, id: &ContainerId, sandbox: Option<&Path>) -> Result<(), Error> {
        let engine = Engine::new(&BridgeDriver, &self.docker.config, &NO_IPAM);
        engine.moved(&self.docker.key(id), sandbox)
    }

    fn joined(&self, id: &ContainerId, endpoint: &Endpoint) -> Joined {
        let gateway = |ipv6: bool| {
            let of_family = endpoint
                .addresses
                .iter()
                .find(|own| own.is_ipv6() == ipv6)?;
            // dockerd makes a default route of whatever is answered.
            self.docker
                .gateway_for(of_family.ip())
                .filter(|_| !self.docker.options.internal)
        };
        let (v4, v6) = (gateway(false), gateway(true));
        Joined {
            link: LinkName {
                src_name: self.docker.key(id).ifname.to_string(),
                dst_prefix: self.docker.options.prefix.clone(),
            },
            gateway: v4,
            gateway_ipv6: v6,
            disable_gateway_service: v4.is_none(),
        }
    }

    fn publish(&self, of: &OfEndpoint, asked: Vec<PortBinding>) -> Result<(), Refusal> {
        let (addresses, sandbox, repeated) = {
            let endpoints = self.endpoints();
            let endpoint = endpoints.get(&of.endpoint).ok_or_else(|| unknown(of))?;
            let repeated = (endpoint.ports.asked == asked).then(|| endpoint.ports.done.clone());
            (
                endpoint.addresses.clone(),
                endpoint.sandbox.clone(),
                repeated,
            )
        };
        // dockerd repeats itself when another network is joined or left.
        if let Some(done) = repeated
            && still_stands(&self.docker, &addresses, &done).map_err(refusal)?
        {
            return Ok(());
        }
        self.revoke(&of.endpoint).map_err(refusal)?;
        let chosen = choose(&self.docker, &addresses, &asked).map_err(refusal)?;
        let Chosen { config, kept } = chosen;
        let ports = Ports {
            asked,
            done: config.ports.clone(),
            kept,
        };
        if !(config.ports.is_empty() && config.open.is_empty()) {
            let attach = Attach {
                netns: sandbox,
                labels: ports.labels(),
                ..self.attachment(&of.endpoint)
            };
            let engine = Engine::new(&PortsDriver, &config, &NO_IPAM);
            engine.add_half(&attach).map_err(refusal)?;
        }
        if let Some(endpoint) = self.endpoints().get_mut(&of.endpoint) {
            endpoint.ports = ports;
        }
        Ok(())
    }

    fn revoke(&self, id: &ContainerId) -> Result<(), Error> {
        // Without any port, as most are: no record, nothing in the tables.
        if let Some(endpoint) = self.endpoints().get(id)
            && endpoint.ports.asked.is_empty()
        {
            return Ok(());
        }
        let config = nothing(&self.docker, &[]).config;
        Engine::new(&PortsDriver, &config, &NO_IPAM).del(&self.attachment(id))?;
        if let Some(endpoint) = self.endpoints().get_mut(id) {
            endpoint.ports = Ports::default();
        }
        Ok(())
    }

    fn attachment(&self, id: &ContainerId) -> Attach<'static> {
        Attach {
            key: self.docker.key(id),
            netns: None,
            mac: None,
            previous: None,
            labels: Map::new(),
        }
    }
}
