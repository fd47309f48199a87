//! The options of a Docker network on a parent: parsing them is validating them.
//! Made from a CreateNetwork, when it comes and again from the disk at each start; `network` makes plans from it.
//! It must never pass over an option that it does not know: it is refused by name.

use serde_json::Value;
use wharfline_docker::Refusal;
use wharfline_docker::options::{Common, flag, link, one_of, unknown};
use wharfline_kernel::sub_interface::{IpvlanMode, IpvlanReach, MacvlanMode};
use wharfline_spec::docker::network::CreateNetwork;
use wharfline_spec::names::IfName;

/// The options of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// What every network driver is asked for.
    pub common: Common,
    /// `parent`; `None`: one of our own that leads nowhere.
    pub parent: Option<IfName>,
    /// `macvlan_mode`.
    pub macvlan_mode: Option<MacvlanMode>,
    /// `ipvlan_mode`: with this or the next, interfaces are ipvlan's.
    pub ipvlan_mode: Option<IpvlanMode>,
    /// `ipvlan_flag`.
    pub ipvlan_flag: Option<IpvlanReach>,
    /// `host_access` (ours): the host reaches containers, and they it.
    pub host_access: bool,
    /// `probe_addresses` (ours): the segment is asked for an address's owner before it is used.
    pub probe_addresses: Option<bool>,
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
            "parent" => self.parent = link(name, value)?,
            "macvlan_mode" => {
                let words = [
                    ("bridge", MacvlanMode::Bridge),
                    ("private", MacvlanMode::Private),
                    ("vepa", MacvlanMode::Vepa),
                    ("passthru", MacvlanMode::Passthru),
                ];
                self.macvlan_mode = Some(one_of(name, value, &words)?);
            }
            "ipvlan_mode" => {
                let words = [
                    ("l2", IpvlanMode::L2),
                    ("l3", IpvlanMode::L3),
                    ("l3s", IpvlanMode::L3s),
                ];
                self.ipvlan_mode = Some(one_of(name, value, &words)?);
            }
            "ipvlan_flag" => {
                let words = [
                    ("bridge", IpvlanReach::Bridge),
                    ("private", IpvlanReach::Private),
                    ("vepa", IpvlanReach::Vepa),
                ];
                self.ipvlan_flag = Some(one_of(name, value, &words)?);
            }
            "host_access" => self.host_access = flag(name, value)?,
            "probe_addresses" => self.probe_addresses = Some(flag(name, value)?),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn refuse_contradictions(&self) -> Result<(), Refusal> {
        let refused =
            |option: &str, why: &str| Err(Refusal::new(format!("option {option}: {why}")));
        let bridged =
            !self.is_ipvlan() && matches!(self.macvlan_mode, None | Some(MacvlanMode::Bridge));
        if self.is_ipvlan() && self.macvlan_mode.is_some() {
            return refused(
                "macvlan_mode",
                "cannot be together with ipvlan_mode or ipvlan_flag: an interface is one or the other",
            );
        }
        if self.host_access && self.parent.is_none() {
            return refused(
                "host_access",
                "needs a parent that the host has an address on",
            );
        }
        if self.host_access && !bridged {
            return refused(
                "host_access",
                "needs macvlan_mode bridge: in no other do links of one parent reach each other",
            );
        }
        if self.probe_addresses == Some(true) && self.is_layer3() {
            return refused("probe_addresses", "ipvlan_mode l3 and l3s hear no answer");
        }
        if self.parent.is_none() && self.macvlan_mode == Some(MacvlanMode::Passthru) {
            return refused("macvlan_mode", "passthru needs a parent to pass through to");
        }
        Ok(())
    }

    /// Whether interfaces are ipvlan's.
    pub(crate) fn is_ipvlan(&self) -> bool {
        self.ipvlan_mode.is_some() || self.ipvlan_flag.is_some()
    }

    /// What ipvlan interfaces of one parent have in common; empty for macvlan's.
    pub(crate) fn ipvlan_words(&self) -> String {
        let mode = self.ipvlan_mode.unwrap_or_default();
        let flag = self.ipvlan_flag.unwrap_or_default();
        match self.is_ipvlan() {
            true => format!("mode {mode} and flag {flag}"),
            false => String::new(),
        }
    }

    /// Whether they hand frames over at layer 3.
    pub(crate) fn is_layer3(&self) -> bool {
        matches!(self.ipvlan_mode, Some(IpvlanMode::L3 | IpvlanMode::L3s))
    }

    /// Whether addresses are asked for on the segment: dockerd tells no driver of --ip-range, so wherever there may be
    /// others on it, unless said.
    pub(crate) fn probes(&self) -> bool {
        let shared = self.parent.is_some() && !self.is_layer3();
        self.probe_addresses.unwrap_or(shared)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wharfline_docker::options::GENERIC;

    use super::*;

    fn parse(options: Value) -> Result<Options, String> {
        let request = json!({"NetworkID": "n1", "Options": {GENERIC: options}});
        let request: CreateNetwork = serde_json::from_value(request).expect("a request");
        Options::parse(&request).map_err(|e| e.to_string())
    }

    #[test]
    fn every_option_is_read() {
        assert_eq!(parse(json!({})), Ok(Options::default()));
        let options = parse(
            json!({"parent": "eth0.10", "macvlan_mode": "vepa", "probe_addresses": "false",
            "com.docker.network.driver.mtu": "1400"}),
        );
        let options = options.expect("read");
        assert_eq!(options.parent.as_ref().map(IfName::as_str), Some("eth0.10"));
        assert_eq!(options.macvlan_mode, Some(MacvlanMode::Vepa));
        assert_eq!(options.common.mtu, Some(1400));
        assert!(!options.probes() && !options.is_ipvlan());
        let options = parse(json!({"parent": "eth0", "ipvlan_flag": "private"})).expect("read");
        assert!(options.is_ipvlan() && options.probes() && !options.is_layer3());
        let options = parse(json!({"parent": "eth0", "ipvlan_mode": "l3s"})).expect("read");
        assert!(options.is_layer3() && !options.probes());
    }

    #[test]
    fn what_is_unknown_or_makes_no_sense_is_refused_by_name() {
        for (options, word) in [
            (
                json!({"com.docker.network.bridge.name": "br0"}),
                "bridge.name",
            ),
            (json!({"parent": "a/b"}), "parent"),
            (json!({"macvlan_mode": "x"}), "macvlan_mode"),
            (json!({"ipvlan_mode": "l4"}), "ipvlan_mode"),
            (json!({"ipvlan_flag": "x"}), "ipvlan_flag"),
            (
                json!({"macvlan_mode": "bridge", "ipvlan_mode": "l2"}),
                "macvlan_mode",
            ),
            (json!({"host_access": "true"}), "host_access"),
            (
                json!({"parent": "eth0", "host_access": "maybe"}),
                "host_access",
            ),
            (
                json!({"parent": "eth0", "host_access": "1", "macvlan_mode": "private"}),
                "host_access",
            ),
            (
                json!({"parent": "eth0", "ipvlan_mode": "l3", "probe_addresses": "1"}),
                "probe_addresses",
            ),
            (json!({"macvlan_mode": "passthru"}), "macvlan_mode"),
        ] {
            let told = parse(options).expect_err(word);
            assert!(told.contains(word), "{told}");
        }
    }
}
