//! The options that users give a Docker network, read by name.
//! The plugins' Docker faces read theirs with it.
//! It must never pass over an option that nobody knows: it is refused by name.

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

/// What every network driver is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// `driver.mtu`, bytes; `None` derives it.
    pub mtu: Option<u32>,
    /// `container_iface_prefix`.
    pub prefix: String,
    /// `--internal`.
    pub internal: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            mtu: None,
            prefix: PREFIX.to_owned(),
            internal: false,
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
                // What they say, the subnets say too.
                ("com.docker.network.enable_ipv4" | "com.docker.network.enable_ipv6", _) => {
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
            _ => further(name, value)?,
        }
        Ok(())
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
