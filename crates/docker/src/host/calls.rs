//! The calls about endpoints: the host's half of a container's link, made, handed to dockerd and taken away.
//! The protocol calls them, several at a time; those of one endpoint come one after another.
//! It must never answer what a request had settled already: dockerd refuses the whole endpoint then.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use macaddr::MacAddr6;
use serde_json::{Map, Value};
use wharfline_core::engine::{Attach, Engine};
use wharfline_core::error::Error;
use wharfline_core::ipam::{GivenIpam, NO_IPAM};
use wharfline_spec::cni::{mac_text, unicast_mac};
use wharfline_spec::docker::PortBinding;
use wharfline_spec::docker::network::{
    CreateEndpoint, CreateNetwork, EndpointCreated, EndpointInterface, Join, Joined, OfEndpoint,
    OfNetwork, OperInfo,
};
use wharfline_spec::names::ContainerId;

use super::arrival;
use super::endpoint::{Endpoint, link_labels};
use super::kind::NetworkKind;
use super::networks::{Network, Networks};
use crate::metrics::Gauge;
use crate::network::NetworkDriver;
use crate::refusal::{Refusal, refusal};

/// Option of an endpoint: what it publishes.
const PORTS: &str = "com.docker.network.portmap";
/// What people see of an endpoint: its MAC.
const MAC: &str = "com.docker.network.endpoint.macaddress";
/// Options of an endpoint that are not for this driver, but come to it: dockerd itself does what they say.
const FOR_DOCKERD: [&str; 2] = [
    "com.docker.network.endpoint.",
    "com.docker.network.driver.private.",
];

impl<K: NetworkKind> NetworkDriver for Networks<K> {
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
        let id = &request.of.endpoint;
        let first = asked.addresses.first().map(IpNetwork::ip);
        let ours = network.docker.key(id).mac(first);
        let mac = network.docker.mac(asked.mac, ours)?;
        network.make_room(id, &asked.addresses)?;
        let _turn = network.turn(id);
        let known = network.endpoints().contains_key(id);
        if known {
            // An answer that was lost; what it was about may be another address by now.
            network.remove(id).map_err(refusal)?;
        }
        let attached = network.attach(id, asked.addresses, mac);
        attached.map_err(refusal)?;
        Ok(EndpointCreated {
            interface: EndpointInterface {
                mac: match asked.mac {
                    Some(_) => String::new(),
                    None => mac.map(mac_text).unwrap_or_default(),
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
        let mut value = Map::new();
        if let Some(mac) = endpoint.mac {
            value.insert(MAC.to_owned(), mac_text(mac).into());
        }
        let (what, link) = network.docker.link_label();
        value.insert(format!("wharfline.{what}"), link.into());
        let key = network.docker.key(&of.endpoint);
        network.docker.tell(&key, endpoint, &mut value);
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
        let key = network.docker.key(&join.of.endpoint);
        if let Some(how) = network.docker.announcements() {
            arrival::announce(&key, &sandbox, &endpoint.addresses, how);
        }
        endpoint.sandbox = Some(sandbox);
        Ok(network.docker.joined(&key, &endpoint.addresses))
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
        if !network.endpoints().contains_key(&request.of.endpoint) {
            return Err(unknown(&request.of));
        }
        K::publish(&network, &request.of, asked)
    }

    fn revoke(&self, of: &OfEndpoint) -> Result<(), Refusal> {
        match self.find(&of.network) {
            Some(network) => {
                let _turn = network.turn(&of.endpoint);
                K::revoke(&network, &of.endpoint).map_err(refusal)
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
        let mac = mac.map(unicast_mac).transpose();
        Ok(Self {
            addresses: addresses?,
            mac: mac
                .map_err(|why| Refusal::new(format!("MacAddress: {:?} {why}", interface.mac)))?,
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

impl<K: NetworkKind> Network<K> {
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
        let is_dead =
            |endpoint: &Endpoint<K::Extra>| endpoint.sandbox.is_some() && !endpoint.lives();
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

    fn attach(
        &self,
        id: &ContainerId,
        addresses: Vec<IpNetwork>,
        mac: Option<MacAddr6>,
    ) -> Result<(), Error> {
        let lease = GivenIpam(Some(self.docker.lease(&addresses)));
        let attach = Attach {
            mac,
            labels: link_labels(mac),
            ..self.attachment(id)
        };
        let config = self.docker.config(&addresses);
        Engine::new(self.docker.driver(), &config, &lease).add_half(&attach)?;
        let endpoint = Endpoint {
            addresses,
            mac,
            sandbox: None,
            extra: K::Extra::default(),
        };
        self.endpoints().insert(id.clone(), endpoint);
        Ok(())
    }

    /// Takes an endpoint away with all that it publishes; an unknown one is looked for by its marks.
    pub(crate) fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        K::revoke(self, id)?;
        let config = self.docker.config(&[]);
        Engine::new(self.docker.driver(), &config, &NO_IPAM).del(&self.attachment(id))?;
        self.endpoints().remove(id);
        Ok(())
    }

    fn moved(&self, id: &ContainerId, sandbox: Option<&Path>) -> Result<(), Error> {
        let config = self.docker.config(&[]);
        let engine = Engine::new(self.docker.driver(), &config, &NO_IPAM);
        engine.moved(&self.docker.key(id), sandbox)
    }

    /// The endpoint as the engine is asked about it.
    pub fn attachment(&self, id: &ContainerId) -> Attach<'static> {
        Attach {
            key: self.docker.key(id),
            netns: None,
            mac: None,
            previous: None,
            labels: Map::new(),
        }
    }
}
