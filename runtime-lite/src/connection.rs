//! The `--network`, `-p`, `-P` options: how a container is connected, and with what arguments for the plugins.
//! `wish` asks it for a new container, `network connect` for one more network.
//! It must never touch a network but to make the default one.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, UdpSocket};

use serde_json::{Map, Value, json};
use wharfline_spec::cni::{ConfList, PortMapping};
use wharfline_spec::{ContainerId, IfName};

use crate::cli;
use crate::container::{self, Attachment, Mode, Rank};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{gateway, network, ports};

/// How a container is to be connected.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) mode: Mode,
    pub(crate) joined: Option<ContainerId>,
    pub(crate) attachments: Vec<Attachment>,
}

/// What the options ask for.
pub(crate) fn of(home: &Home, asked: &cli::Connection, exposed: &[String]) -> Result<Connected> {
    let without =
        |mode, joined, words: &'static str| match asked.publish.is_empty() && !asked.publish_all {
            true => Ok(Connected {
                mode,
                joined,
                attachments: Vec::new(),
            }),
            false => Err(Error::PortWithoutNetwork { mode: words }),
        };
    match asked.network.as_slice() {
        [one] if one == "none" => return without(Mode::None, None, "none"),
        [one] if one == "host" => return without(Mode::Host, None, "host"),
        [one] => {
            if let Some(name) = one.strip_prefix("container:") {
                let id = shared_with(home, name)?;
                return without(Mode::Joined, Some(id), "another container's");
            }
        }
        _ => {}
    }
    let mut attachments = networks(home, &asked.network)?;
    let mappings = mappings(asked, exposed)?;
    if let (Some(first), false) = (attachments.first_mut(), mappings.is_empty()) {
        let mappings = mappings.iter().map(PortMapping::to_json).collect();
        let name = "portMappings".to_owned();
        first.capabilities.insert(name, Value::Array(mappings));
    }
    Ok(Connected {
        mode: Mode::Networks,
        joined: None,
        attachments,
    })
}

/// The container whose network namespace is to be shared, which must have one of its own.
fn shared_with(home: &Home, name: &str) -> Result<ContainerId> {
    let (about, _) = container::find(home, name)?;
    match (about.owns_netns(), about.wish.joined) {
        (true, _) => Ok(about.id),
        (false, Some(further)) => Ok(further),
        (false, None) => Err(Error::NoNamespace(about.name)),
    }
}

fn networks(home: &Home, given: &[String]) -> Result<Vec<Attachment>> {
    let mut made: Vec<Attachment> = Vec::new();
    if given.is_empty() {
        let known = network::find_or_make_default(home)?;
        let first = attachment(&known.list, "eth0", &Given::default(), Rank::default())?;
        return Ok(vec![first]);
    }
    for text in given {
        made.push(one_more(home, text, &made)?);
    }
    Ok(made)
}

/// The attachment that `NAME[:ip=..,mac=..,ifname=..,gw-priority=..]` asks for, beside those that there are.
pub(crate) fn one_more(home: &Home, text: &str, others: &[Attachment]) -> Result<Attachment> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    if matches!(name, "none" | "host" | "container") {
        return Err(Error::BadValue {
            given: text.to_owned(),
            rule: "can't be combined with other networks",
        });
    }
    let given = Given::parse(text, options)?;
    let known = network::find(home, name)?;
    if others.iter().any(|other| other.network == known.list.name) {
        return Err(Error::BadValue {
            given: name.to_owned(),
            rule: "is named twice: a container has one interface on a network",
        });
    }
    let taken: BTreeSet<&str> = others.iter().map(|other| other.ifname.as_str()).collect();
    let free = (0..).map(|number| format!("eth{number}"));
    let mut free = free.filter(|name| !taken.contains(name.as_str()));
    let ifname = match &given.ifname {
        Some(name) => name.clone(),
        None => free.next().unwrap_or_default(),
    };
    if taken.contains(ifname.as_str()) {
        return Err(Error::BadValue {
            given: ifname,
            rule: "is the name of two interfaces",
        });
    }
    let turn = others.iter().map(|other| other.gateway.turn + 1).max();
    let rank = Rank {
        priority: given.priority,
        turn: turn.unwrap_or_default(),
    };
    attachment(&known.list, &ifname, &given, rank)
}

/// The options of one network.
#[derive(Debug, Default)]
struct Given {
    addresses: Vec<IpAddr>,
    mac: Option<String>,
    ifname: Option<String>,
    priority: i32,
}

impl Given {
    fn parse(whole: &str, options: &str) -> Result<Given> {
        let refuse = |rule| Error::BadValue {
            given: whole.to_owned(),
            rule,
        };
        let mut given = Given::default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| refuse("has an option that is not of the form KEY=VALUE"))?;
            match key {
                "ip" | "ip6" => given.addresses.push(
                    value
                        .parse()
                        .map_err(|_| refuse("has an ip that is no address"))?,
                ),
                "mac" | "mac-address" => {
                    if !is_mac(value) {
                        return Err(refuse("has a mac that is no hardware address"));
                    }
                    given.mac = Some(value.to_owned());
                }
                "ifname" => given.ifname = Some(value.to_owned()),
                "gw-priority" => {
                    given.priority = gateway::priority(value)
                        .ok_or_else(|| refuse("has a gw-priority that is not -1000 to 1000"))?;
                }
                _ => {
                    return Err(refuse(
                        "has an option other than ip, mac, ifname, gw-priority",
                    ));
                }
            }
        }
        Ok(given)
    }
}

/// Six bytes in hexadecimal digits, as in 02:00:00:00:00:01.
fn is_mac(text: &str) -> bool {
    let byte = |part: &str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
    text.split(':').count() == 6 && text.split(':').all(byte)
}

/// Arguments go by the capability that a plugin declares, else by CNI_ARGS (CNI CONVENTIONS).
fn attachment(list: &ConfList, ifname: &str, given: &Given, gateway: Rank) -> Result<Attachment> {
    let declares = |capability: &str| {
        let mut all = list.plugins.iter().flat_map(|plugin| &plugin.capabilities);
        all.any(|declared| declared == capability)
    };
    let mut capabilities = Map::new();
    let mut args = Vec::new();
    if !given.addresses.is_empty() {
        let texts: Vec<String> = given.addresses.iter().map(IpAddr::to_string).collect();
        match declares("ips") {
            true => drop(capabilities.insert("ips".to_owned(), json!(texts))),
            false => args.extend(texts.into_iter().map(|text| ("IP".to_owned(), text))),
        }
    }
    if let Some(mac) = &given.mac {
        match declares("mac") {
            true => drop(capabilities.insert("mac".to_owned(), json!(mac))),
            false => args.push(("MAC".to_owned(), mac.clone())),
        }
    }
    if !args.is_empty() {
        args.insert(0, ("IgnoreUnknown".to_owned(), "1".to_owned()));
    }
    Ok(Attachment {
        network: list.name.clone(),
        ifname: IfName::new(ifname)?,
        capabilities,
        args,
        gateway,
    })
}

fn mappings(asked: &cli::Connection, exposed: &[String]) -> Result<Vec<PortMapping>> {
    let mut mappings = Vec::new();
    for given in &asked.publish {
        mappings.extend(ports::parse(given)?);
    }
    if asked.publish_all {
        for port in exposed {
            let (inside, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let outside = free_port(protocol)?;
            mappings.extend(ports::parse(&format!("{outside}:{inside}/{protocol}"))?);
        }
    }
    Ok(mappings)
}

/// A port that is free now. Whoever takes it before the container does makes its start fail, by name.
fn free_port(protocol: &str) -> Result<u16> {
    let failed = || Error::file("find a free port", "0.0.0.0");
    let address = match protocol {
        "udp" => UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()),
        _ => TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()),
    };
    Ok(address.map_err(failed())?.port())
}
