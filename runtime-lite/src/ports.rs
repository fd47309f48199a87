//! The `-p` option: `[IP:]HOST:CONTAINER[/PROTOCOL]`, ports or ranges of the same length.
//! `cli` parses with it, `ps` shows mappings in the same form.
//! It must never guess: what is not of the form is refused with the rule that it breaks.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use wharfline_spec::cni::{PortMapping, Protocol};

use crate::error::{Error, Result};

/// The mappings that one `-p` asks for.
pub(crate) fn parse(given: &str) -> Result<Vec<PortMapping>> {
    let refuse = |rule| Error::BadPort {
        given: given.to_owned(),
        rule,
    };
    let (ports, protocol) = match given.rsplit_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse::<Protocol>().map_err(refuse)?),
        None => (given, Protocol::Tcp),
    };
    let form = "is not of the form [IP:]HOST:CONTAINER[/PROTOCOL], as in 8080:80, 127.0.0.1:53:53/udp, [::1]:8080:80";
    let (rest, container) = ports.rsplit_once(':').ok_or_else(|| refuse(form))?;
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (Some(address), host),
        None => (None, rest),
    };
    let host_ip = address.map(host_address).transpose().map_err(refuse)?;
    let (host, container) = (
        range(host).map_err(refuse)?,
        range(container).map_err(refuse)?,
    );
    if host.end() - host.start() != container.end() - container.start() {
        return Err(refuse("has ranges of different lengths"));
    }
    let mapping = |(host_port, container_port)| PortMapping {
        host_port,
        container_port,
        protocol,
        host_ip,
    };
    Ok(host.zip(container).map(mapping).collect())
}

/// The form that [`parse`] reads.
pub(crate) fn show(mapping: &PortMapping) -> String {
    let address = match mapping.host_ip {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
        Some(IpAddr::V4(ip)) => format!("{ip}:"),
        None => String::new(),
    };
    format!(
        "{address}{}:{}/{}",
        mapping.host_port, mapping.container_port, mapping.protocol
    )
}

fn host_address(text: &str) -> std::result::Result<IpAddr, &'static str> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or("has an open bracket")?,
        None if text.contains(':') => return Err("has an IPv6 address without brackets"),
        None => text,
    };
    bare.parse()
        .map_err(|_| "does not begin with an IP address")
}

fn range(text: &str) -> std::result::Result<RangeInclusive<u16>, &'static str> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("has a port that is not between 1 and 65535"),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    match first <= last {
        true => Ok(first..=last),
        false => Err("has a range that ends before it begins"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(given: &str) -> Vec<String> {
        parse(given).expect("a port").iter().map(show).collect()
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(round_trip("8080:80"), ["8080:80/tcp"]);
        assert_eq!(round_trip("53:53/udp"), ["53:53/udp"]);
        assert_eq!(round_trip("127.0.0.1:1:2/SCTP"), ["127.0.0.1:1:2/sctp"]);
        assert_eq!(round_trip("[::1]:8080:80"), ["[::1]:8080:80/tcp"]);
        assert_eq!(round_trip("7-8:17-18"), ["7:17/tcp", "8:18/tcp"]);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for bad in [
            "",
            "80",
            ":80",
            "80:",
            "0:80",
            "70000:1",
            "1:2:3",
            "::1:8080:80",
            "[::1:8080:80",
            "80:80/icmp",
            "1-2:1-3",
            "2-1:2-1",
            "x:80",
            "8080:80/",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
