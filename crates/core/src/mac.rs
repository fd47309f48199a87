//! MAC addresses in records and golden plans: lower-case text with colons.
//! serde attributes name this module.
//! It must never accept what it would not write.

use std::net::IpAddr;

use macaddr::MacAddr6;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer, de};
use wharfline_spec::cni::mac_text;

/// Writes a MAC.
pub(crate) fn serialize<S: Serializer>(mac: &MacAddr6, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mac_text(*mac))
}

/// Reads a MAC.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<MacAddr6, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

/// Writes addresses with their MACs.
pub(crate) fn serialize_pairs<S: Serializer>(
    pairs: &[(IpAddr, MacAddr6)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(pairs.len()))?;
    for (ip, mac) in pairs {
        list.serialize_element(&(ip, mac_text(*mac)))?;
    }
    list.end()
}

/// A MAC that may be absent.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, MacAddr6, Serializer, de};

    /// Writes it, where there is one.
    pub(crate) fn serialize<S: Serializer>(
        mac: &Option<MacAddr6>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => super::serialize(mac, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads it, where there is one.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<MacAddr6>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom))
            .transpose()
    }
}
