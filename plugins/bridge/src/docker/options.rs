//! The options of a Docker network: parsing them is validating them.
//! Made from a CreateNetwork, when it comes and again from the disk at each start; `network` makes plans from it.
//! It must never pass over an option that it does not know: it is refused by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use wharfline_docker::Refusal;
use wharfline_docker::options::{Common, bad, flag, if_name, link, one_of, text, unknown};
use wharfline_spec::docker::network::CreateNetwork;
use wharfline_spec::names::IfName;

/// What every option of Docker's bridge driver begins with.
const BRIDGE: &str = "com.docker.network.bridge.";

/// How a network's addresses are reached from elsewhere, in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum GatewayMode {
    /// Published ports are translated, what leaves is masqueraded, and nothing else gets in.
    #[default]
    Nat,
    /// The same, and every port is reached at the container's own address.
    NatUnprotected,
    /// Nothing is translated; published ports are reached at the container's own address.
    Routed,
    /// The host has no address on the bridge.
    Isolated,
}

/// The options of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// What every network driver is asked for.
    pub common: Common,
    /// `bridge.name`; `None`: after the network's identifier.
    pub bridge: Option<IfName>,
    /// `bridge.enable_ip_masquerade`.
    pub masquerade: bool,
    /// `bridge.enable_icc`: containers of the network reach each other.
    pub icc: bool,
    /// `bridge.inhibit_ipv4`: the bridge does not get the IPv4 gateway's address.
    pub inhibit_ipv4: bool,
    /// `bridge.gateway_mode_ipv4`.
    pub mode_v4: GatewayMode,
    /// `bridge.gateway_mode_ipv6`.
    pub mode_v6: GatewayMode,
    /// `bridge.host_binding_ipv4`: where ports are published that name no address.
    pub host_binding: Option<Ipv4Addr>,
    /// `bridge.trusted_host_interfaces`: from there every port is reached.
    pub trusted: Vec<IfName>,
    /// `host_ipv4`: what leaves leaves with this address.
    pub host_v4: Option<Ipv4Addr>,
    /// `host_ipv6`.
    pub host_v6: Option<Ipv6Addr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            common: Common::default(),
            bridge: None,
            masquerade: true,
            icc: true,
            inhibit_ipv4: false,
            mode_v4: GatewayMode::Nat,
            mode_v6: GatewayMode::Nat,
            host_binding: None,
            trusted: Vec::new(),
            host_v4: None,
            host_v6: None,
        }
    }
}

impl Options {
    /// Reads the options of a request.
    ///
    /// # Errors
    /// A text that names the option.
    pub(crate) fn parse(request: &CreateNetwork) -> Result<Self, Refusal> {
        let mut options = Self::default();
        options.common = Common::parse(request, |name, value| options.read(name, value))?;
        options.refuse_contradictions()?;
        Ok(options)
    }

    fn read(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        match name {
            "com.docker.network.host_ipv4" => self.host_v4 = address(name, value)?,
            "com.docker.network.host_ipv6" => self.host_v6 = address(name, value)?,
            _ => match name.strip_prefix(BRIDGE) {
                Some(key) => self.read_of_bridge(key, name, value)?,
                None => return Err(unknown(name)),
            },
        }
        Ok(())
    }

    fn read_of_bridge(&mut self, key: &str, name: &str, value: &Value) -> Result<(), Refusal> {
        match key {
            "name" => self.bridge = link(name, value)?,
            "enable_ip_masquerade" => self.masquerade = flag(name, value)?,
            "enable_icc" => self.icc = flag(name, value)?,
            "inhibit_ipv4" => self.inhibit_ipv4 = flag(name, value)?,
            "gateway_mode_ipv4" => self.mode_v4 = mode(name, value)?,
            "gateway_mode_ipv6" => self.mode_v6 = mode(name, value)?,
            "host_binding_ipv4" => self.host_binding = address(name, value)?,
            "trusted_host_interfaces" => self.trusted = links(name, value)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn refuse_contradictions(&self) -> Result<(), Refusal> {
        let modes = [
            ("gateway_mode_ipv4", self.mode_v4),
            ("gateway_mode_ipv6", self.mode_v6),
        ];
        for (key, mode) in modes {
            if mode == GatewayMode::Isolated && !self.common.internal {
                return Err(Refusal::new(format!(
                    "option {BRIDGE}{key}: isolated is for internal networks (--internal)"
                )));
            }
        }
        Ok(())
    }

    /// How the family of an address is reached.
    pub(crate) fn mode(&self, ipv6: bool) -> GatewayMode {
        if ipv6 { self.mode_v6 } else { self.mode_v4 }
    }

    /// Whether the bridge has the gateway's address, in one family.
    pub(crate) fn has_gateway(&self, ipv6: bool) -> bool {
        self.mode(ipv6) != GatewayMode::Isolated && (ipv6 || !self.inhibit_ipv4)
    }
}

fn links(name: &str, value: &Value) -> Result<Vec<IfName>, Refusal> {
    let names = text(name, value)?
        .split(':')
        .filter(|part| !part.is_empty());
    names.map(|part| if_name(name, part)).collect()
}

fn mode(name: &str, value: &Value) -> Result<GatewayMode, Refusal> {
    let words = [
        ("nat", GatewayMode::Nat),
        ("nat-unprotected", GatewayMode::NatUnprotected),
        ("routed", GatewayMode::Routed),
        ("isolated", GatewayMode::Isolated),
    ];
    one_of(name, value, &words)
}

fn address<T: std::str::FromStr + Into<IpAddr> + Copy>(
    name: &str,
    value: &Value,
) -> Result<Option<T>, Refusal> {
    let text = text(name, value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address: T = text
        .parse()
        .map_err(|_| bad(name, value, "is no address of that family"))?;
    Ok(Some(address).filter(|address| !(*address).into().is_unspecified()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wharfline_docker::options::GENERIC;

    use super::*;

    fn parse(options: Value) -> Result<Options, String> {
        let request = json!({"NetworkID": "n1", "Options": options});
        let request: CreateNetwork = serde_json::from_value(request).expect("a request");
        Options::parse(&request).map_err(|e| e.to_string())
    }

    fn generic(options: Value) -> Result<Options, String> {
        parse(json!({ GENERIC: options }))
    }

    #[test]
    fn what_is_not_said_is_as_with_dockers_own_driver() {
        assert_eq!(parse(json!({})), Ok(Options::default()));
        let dockerd_27 = json!({"com.docker.network.enable_ipv6": false, GENERIC: {}});
        assert_eq!(parse(dockerd_27), Ok(Options::default()));
        let mut announced = Options::default();
        announced.common.dockerd_announces = true;
        let dockerd_28 = json!({"com.docker.network.enable_ipv4": true, "com.docker.network.enable_ipv6": false,
                                GENERIC: {}});
        assert_eq!(parse(dockerd_28), Ok(announced));
    }

    #[test]
    fn every_option_is_read() {
        let options = generic(json!({
            "com.docker.network.bridge.name": "wharf0",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.enable_icc": "0",
            "com.docker.network.bridge.inhibit_ipv4": "true",
            "com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected",
            "com.docker.network.bridge.gateway_mode_ipv6": "routed",
            "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
            "com.docker.network.bridge.trusted_host_interfaces": "vxlan0:eth1",
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.container_iface_prefix": "net",
            "com.docker.network.host_ipv4": "198.18.0.9",
            "com.docker.network.host_ipv6": "2001:db8::9",
        }));
        let options = options.expect("read");
        assert_eq!(options.bridge.as_ref().map(IfName::as_str), Some("wharf0"));
        assert!(!options.masquerade && !options.icc && options.inhibit_ipv4);
        assert_eq!(options.mode(false), GatewayMode::NatUnprotected);
        assert_eq!(options.mode(true), GatewayMode::Routed);
        assert_eq!(options.host_binding, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(options.trusted.len(), 2);
        let common = &options.common;
        assert_eq!((common.mtu, common.prefix.as_str()), (Some(1400), "net"));
        assert!(options.host_v4.is_some() && options.host_v6.is_some());
        assert!(!options.has_gateway(false) && options.has_gateway(true));
    }

    #[test]
    fn what_is_unknown_or_makes_no_sense_is_refused_by_name() {
        for (option, value) in [
            ("parent", json!("eth1")),
            ("com.docker.network.bridge.default_bridge", json!("true")),
            ("com.docker.network.driver.mtu", json!("67")),
            ("com.docker.network.driver.mtu", json!("a")),
            ("com.docker.network.bridge.enable_icc", json!("yes")),
            (
                "com.docker.network.bridge.gateway_mode_ipv4",
                json!("isolated"),
            ),
            ("com.docker.network.bridge.gateway_mode_ipv6", json!("x")),
            (
                "com.docker.network.bridge.name",
                json!("a name that is too long"),
            ),
            (
                "com.docker.network.bridge.trusted_host_interfaces",
                json!("a/b"),
            ),
            (
                "com.docker.network.container_iface_prefix",
                json!("muchtoolongx"),
            ),
            ("com.docker.network.host_ipv4", json!("fd00::1")),
        ] {
            let error = generic(json!({ option: value })).expect_err(option);
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn an_internal_network_may_be_isolated() {
        let options = parse(json!({"com.docker.network.internal": true,
            GENERIC: {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}}));
        let options = options.expect("read");
        assert!(options.common.internal && !options.has_gateway(false));
    }
}
