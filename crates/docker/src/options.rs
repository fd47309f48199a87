//! The options that users give a Docker network, read by name.
//! The plugins' Docker faces read theirs with it.
//! It must never pass over an option that nobody knows: it is refused by name.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;
use wharfline_spec::docker::network::CreateNetwork;
use wharfline_spec::names::IfName;

use crate::refusal::Refusal;

/// Where dockerd puts the options that the user gave.
pub const GENERIC: &str = "com.docker.network.generic";
/// `--internal`.
const INTERNAL: &str = "com.docker.network.internal";
/// What containers' interfaces are called unless said; dockerd adds the number.
pub const PREFIX: &str = "eth";

/// How often containers' addresses are told to their segment (gratuitous ARP, unsolicited neighbour advertisements), and
/// how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcements {
    /// `advertise_addr_nmsgs`: 0 to 3.
    pub times: u32,
    /// `advertise_addr_ms`.
    pub interval: Duration,
}

impl Default for Announcements {
    /// As dockerd itself since version 28.
    fn default() -> Self {
        Self {
            times: 3,
            interval: Duration::from_secs(1),
        }
    }
}

/// What every network driver is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// `driver.mtu`, bytes; `None` derives it.
    pub mtu: Option<u32>,
    /// `container_iface_prefix`.
    pub prefix: String,
    /// `--internal`.
    pub internal: bool,
    /// `advertise_addr_…`: what dockerd does itself since version 28.
    pub announcements: Announcements,
    /// Whether it comes from such a dockerd.
    pub dockerd_announces: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            mtu: None,
            prefix: PREFIX.to_owned(),
            internal: false,
            announcements: Announcements::default(),
            dockerd_announces: false,
        }
    }
}

impl Common {
    /// Reads the options of a request; those that not every driver knows go to `further`.
    ///
    /// # Errors
    /// A text that names the option.
    pub fn parse(
        request: &CreateNetwork,
        mut further: impl FnMut(&str, &Value) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let mut common = Self::default();
        for (name, value) in &request.options {
            match (name.as_str(), value) {
                (GENERIC, Value::Null) => {}
                (GENERIC, Value::Object(given)) => {
                    for (name, value) in given {
                        common.read(name, value, &mut further)?;
                    }
                }
                (GENERIC, _) => return Err(bad(GENERIC, value, "is no set of options")),
                (INTERNAL, _) => common.internal = flag(name, value)?,
                // What they say, the subnets say too. The first came with version 28, as dockerd's own announcements did.
                ("com.docker.network.enable_ipv4", _) => {
                    flag(name, value)?;
                    common.dockerd_announces = true;
                }
                ("com.docker.network.enable_ipv6", _) => {
                    flag(name, value)?;
                }
                _ => common.read(name, value, &mut further)?,
            }
        }
        Ok(common)
    }

    fn read(
        &mut self,
        name: &str,
        value: &Value,
        further: &mut impl FnMut(&str, &Value) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match name {
            "com.docker.network.driver.mtu" => self.mtu = mtu(name, value)?,
            "com.docker.network.container_iface_prefix" => self.prefix = prefix(name, value)?,
            "com.docker.network.advertise_addr_nmsgs" => {
                self.announcements.times = number(name, value, 0..=3)?;
            }
            "com.docker.network.advertise_addr_ms" => {
                let milliseconds = number(name, value, 100..=2000)?;
                self.announcements.interval = Duration::from_millis(milliseconds.into());
            }
            _ => further(name, value)?,
        }
        Ok(())
    }

    /// What is left for a driver to announce of its containers.
    pub fn left_to_announce(&self) -> Option<Announcements> {
        Some(self.announcements).filter(|how| how.times > 0 && !self.dockerd_announces)
    }
}

/// The refusal of an option that nobody knows.
pub fn unknown(name: &str) -> Refusal {
    Refusal::new(format!("option {name} is not known"))
}

/// The refusal of a value.
pub fn bad(name: &str, value: &Value, problem: &str) -> Refusal {
    Refusal::new(format!("option {name}: {value} {problem}"))
}

/// dockerd writes what the user gave as text, and some of its own as booleans.
///
/// # Errors
/// What is neither true nor false.
pub fn flag(name: &str, value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        // As strconv.ParseBool of Go, which Docker's own driver reads them by.
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(bad(name, value, "is neither true nor false")),
        },
        _ => Err(bad(name, value, "is neither true nor false")),
    }
}

/// A number within bounds, which dockerd writes as text.
fn number(name: &str, value: &Value, bounds: RangeInclusive<u32>) -> Result<u32, Refusal> {
    let number = text(name, value)?.parse().ok();
    number.filter(|n| bounds.contains(n)).ok_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        bad(name, value, &format!("is no number from {least} to {most}"))
    })
}

/// A text.
///
/// # Errors
/// What is none.
pub fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().ok_or_else(|| bad(name, value, "is no text"))
}

/// One of the words; the first for an empty text.
///
/// # Errors
/// Another word.
pub fn one_of<T: Copy>(name: &str, value: &Value, words: &[(&str, T)]) -> Result<T, Refusal> {
    let given = text(name, value)?;
    let mut found = words.iter();
    let found = found.find(|(word, _)| given.is_empty() || *word == given);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        bad(name, value, &format!("is none of {}", words.join(", ")))
    })
}

/// A link's name; `None` for an empty text.
///
/// # Errors
/// What the kernel takes for none.
pub fn link(name: &str, value: &Value) -> Result<Option<IfName>, Refusal> {
    match text(name, value)? {
        "" => Ok(None),
        text => if_name(name, text).map(Some),
    }
}

/// The name of a link.
///
/// # Errors
/// What the kernel takes for none.
pub fn if_name(name: &str, text: &str) -> Result<IfName, Refusal> {
    IfName::new(text).map_err(|e| Refusal::new(format!("{name}: {e}")))
}

/// An interface name has room for the prefix and a number of four digits.
fn prefix(name: &str, value: &Value) -> Result<String, Refusal> {
    let prefix = text(name, value)?;
    match IfName::new(&format!("{prefix}0000")) {
        Ok(_) if !prefix.is_empty() => Ok(prefix.to_owned()),
        _ => Err(bad(name, value, "is no beginning of interface names")),
    }
}

/// 68 bytes is the least that IPv4 allows (RFC 791), 65,535 the most that a link of ours takes.
fn mtu(name: &str, value: &Value) -> Result<Option<u32>, Refusal> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number.and_then(|number| u32::try_from(number).ok()) {
        Some(0) => Ok(None),
        Some(mtu @ 68..=65_535) => Ok(Some(mtu)),
        _ => Err(bad(name, value, "is not between 68 and 65535")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn common(options: Value) -> Result<Common, String> {
        let request = json!({"NetworkID": "n1", "Options": options});
        let request = serde_json::from_value(request).expect("a request");
        Common::parse(&request, |name, _| Err(unknown(name))).map_err(|e| e.to_string())
    }

    #[test]
    fn announcements_are_dockerds_own_since_it_says_whether_there_is_ipv4() {
        let left = |options| common(options).expect("read").left_to_announce();
        assert_eq!(left(json!({})), Some(Announcements::default()));
        let generic = json!({"com.docker.network.advertise_addr_nmsgs": "2", "com.docker.network.advertise_addr_ms": "100"});
        let how = Announcements {
            times: 2,
            interval: Duration::from_millis(100),
        };
        assert_eq!(left(json!({ GENERIC: generic })), Some(how));
        assert_eq!(left(json!({"com.docker.network.enable_ipv4": true})), None);
        let never = json!({"com.docker.network.advertise_addr_nmsgs": "0"});
        assert_eq!(left(json!({ GENERIC: never })), None);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        for (name, value) in [
            ("com.docker.network.advertise_addr_nmsgs", "4"),
            ("com.docker.network.advertise_addr_nmsgs", "-1"),
            ("com.docker.network.advertise_addr_ms", "99"),
            ("com.docker.network.advertise_addr_ms", "a second"),
        ] {
            let told = common(json!({ GENERIC: {name: value} })).expect_err(name);
            assert!(told.contains(name) && told.contains(value), "{told}");
        }
    }
}
