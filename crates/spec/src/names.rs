//! Names and numbers with a rule behind them; holding one means the rule was checked.
//! Used wherever a name crosses the process boundary: environment, configuration, records on disk.
//! Must never offer a way to build a value around its check.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A name or number that its rule refuses.
///
/// The text names what it was to be, the value as given and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?}: {rule}")]
pub struct BadName {
    /// What the value was to be: "interface name", "container id" and so on.
    pub what: &'static str,
    /// The value as it was given.
    pub given: String,
    /// The part of the rule that it breaks.
    pub rule: &'static str,
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the rule of the type and keeps the name.
            ///
            /// # Errors
            /// [`BadName`] with the part of the rule that the name breaks.
            pub fn new(name: &str) -> Result<$name, BadName> {
                match $check(name) {
                    Ok(()) => Ok($name(name.into())),
                    Err(rule) => Err(BadName { what: $what, given: name.to_owned(), rule }),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(name: &str) -> Result<$name, BadName> {
                $name::new(name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let name = String::deserialize(deserializer)?;
                $name::new(&name).map_err(de::Error::custom)
            }
        }
    };
}

checked_name! {
    /// Name of a network interface, 1 to 15 bytes.
    ///
    /// Rule: `dev_valid_name()` in net/core/dev.c; and no `%`, which `dev_get_valid_name()` takes as
    /// a template and replaces by a name of the kernel's choice.
    IfName, "interface name", if_name_rule
}

checked_name! {
    /// Identifier of a container as its runtime gives it (`CNI_CONTAINERID`).
    ///
    /// Rule: CNI SPEC 1.1.0, Parameters: a letter or digit, then letters, digits, `_`, `.` and `-`.
    ContainerId, "container id", cni_name_rule
}

checked_name! {
    /// Name of a network, the key `name` of a configuration.
    ///
    /// Rule: CNI SPEC 1.1.0, Configuration format: a letter or digit, then letters, digits, `_`, `.` and `-`.
    NetworkName, "network name", cni_name_rule
}

checked_name! {
    /// Name of a volume, or of a snapshot of one: 2 to 255 bytes.
    ///
    /// Rule: Docker's for local volumes (moby daemon/names): a letter or digit, then letters, digits, `_`, `.` and `-`;
    /// and NAME_MAX, because it is a folder's name.
    VolumeName, "volume name", volume_name_rule
}

/// Longest name of a file (`NAME_MAX`, include/uapi/linux/limits.h).
const NAME_MAX: usize = 255;

fn volume_name_rule(name: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match name.as_bytes() {
        [] => Err("must not be empty"),
        [_] => Err("must have at least two characters"),
        bytes if bytes.len() > NAME_MAX => Err("must not be longer than 255 bytes"),
        [first, ..] if !first.is_ascii_alphanumeric() => {
            Err("must begin with a letter or digit of ASCII")
        }
        bytes if !bytes.iter().all(|b| legal(*b)) => {
            Err("must consist of letters and digits of ASCII, '_', '.' and '-'")
        }
        _ => Ok(()),
    }
}

/// Bytes of an interface name: `IFNAMSIZ` less the closing NUL.
const IF_NAME_MAX: usize = 15;

fn if_name_rule(name: &str) -> Result<(), &'static str> {
    // The kernel's isspace() works on bytes of Latin-1, where 0xa0 is a space too.
    let is_space = |b: u8| b.is_ascii_whitespace() || b == 0x0b || b == 0xa0;
    match name {
        "" => Err("must not be empty"),
        "." | ".." => Err("must not be . or .."),
        _ if name.len() > IF_NAME_MAX => Err("must not be longer than 15 bytes"),
        _ if name
            .bytes()
            .any(|b| matches!(b, b'/' | b':' | b'%' | 0) || is_space(b)) =>
        {
            Err("must not contain '/', ':', '%', NUL or white space")
        }
        _ => Ok(()),
    }
}

/// Bytes of a network name or container id: room is left for an interface name and an ending.
const CNI_NAME_MAX: usize = 200;

fn cni_name_rule(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    match bytes.next() {
        None => return Err("must not be empty"),
        Some(first) if !first.is_ascii_alphanumeric() => {
            return Err("must begin with a letter or a digit");
        }
        // The specification knows no limit; a file is named after it, and 255 bytes is a file name's (limits.h, NAME_MAX).
        Some(_) if name.len() > CNI_NAME_MAX => {
            return Err("must not be longer than 200 bytes");
        }
        Some(_) => {}
    }
    if bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        Ok(())
    } else {
        Err("may hold only letters, digits, '_', '.' and '-'")
    }
}

macro_rules! checked_number {
    ($(#[$doc:meta])* $name:ident($int:ty), $what:literal, $range:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($int);

        impl $name {
            /// Checks the range and keeps the number.
            ///
            /// # Errors
            /// [`BadName`] with the range.
            pub fn new(number: u32) -> Result<$name, BadName> {
                match <$int>::try_from(number) {
                    Ok(n) if $range.contains(&n) => Ok($name(n)),
                    _ => Err(BadName { what: $what, given: number.to_string(), rule: $rule }),
                }
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> $int {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = BadName;

            fn try_from(number: u32) -> Result<$name, BadName> {
                $name::new(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                $name::new(u32::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

checked_number! {
    /// VLAN identifier, 1 to 4094.
    ///
    /// Rule: IEEE 802.1Q reserves 0 (priority tag only) and 4095; `br_vlan_valid_id()` in net/bridge.
    VlanId(u16), "VLAN id", (1..=4094), "must be between 1 and 4094"
}

checked_number! {
    /// VXLAN network identifier, 1 to 16777215.
    ///
    /// Rule: RFC 7348 section 5, a field of 24 bits; 0 is left out, as other overlays do.
    Vni(u32), "VNI", (1..=0x00ff_ffff), "must be between 1 and 16777215"
}

#[cfg(test)]
mod tests;
