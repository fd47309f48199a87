//! The files that are mounted over a container's /etc: hosts, hostname, resolv.conf.
//! `start` makes them empty before the container, and fills them, in place, once its addresses are known.
//! It must never replace one (rename): the mount would keep showing the old file.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use wharfline_spec::cni::Dns;

use crate::attach::{self, Made};
use crate::bundle::ETC;
use crate::container::{Container, Folder, Mode};
use crate::error::{Error, Result};
use crate::home::Home;

/// Makes the files, so that they can be mounted.
pub(crate) fn prepare(folder: &Folder) -> Result<()> {
    for name in ETC {
        write(folder, name, "")?;
    }
    Ok(())
}

/// Fills the files.
pub(crate) fn fill(
    home: &Home,
    container: &Container,
    folder: &Folder,
    made: &[Made],
) -> Result<()> {
    let hostname = &hostname(container);
    let host = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
    let mut hosts = match container.wish.mode {
        Mode::Host => host("hosts"),
        _ => hosts(container, hostname, made),
    };
    hosts.push_str(&further(home, container));
    write(folder, "hosts", &hosts)?;
    write(folder, "hostname", &format!("{hostname}\n"))?;
    let of_plugins = made.iter().map(|made| &made.result.dns);
    let mut of_plugins = of_plugins.filter(|dns| !dns.nameservers.is_empty());
    let servers = &container.wish.names.servers;
    let resolv = match of_plugins.next() {
        _ if !servers.is_empty() => servers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect(),
        Some(dns) => resolv_conf(dns),
        None if container.wish.mode == Mode::Host => host("resolv.conf"),
        None => without_loopback(&host("resolv.conf")),
    };
    write(folder, "resolv.conf", &resolv)
}

/// The container's name for itself. Docker's rule: the beginning of the id, unless the host's name is the container's as well.
pub(crate) fn hostname(container: &Container) -> String {
    if let Some(given) = &container.wish.hostname {
        return given.clone();
    }
    let own = || container.short_id().to_owned();
    match container.wish.mode {
        Mode::Host => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_else(own),
        _ => own(),
    }
}

/// Tells the containers that are linked to this one where it is now: their files change in place.
pub(crate) fn tell_linked(home: &Home, changed: &Container) -> Result<()> {
    let client = home.client();
    for (about, folder) in crate::container::all(home)? {
        let linked = about.wish.names.links.iter();
        if !linked.clone().any(|(id, _)| *id == changed.id.as_str()) {
            continue;
        }
        if folder.life()?.at_rest() {
            continue;
        }
        let made = attach::results(&client, &about);
        fill(home, &about, &folder, &made)?;
    }
    Ok(())
}

/// The lines of `--add-host`, and of `--link` as far as the others have addresses on a network that they share with us.
fn further(home: &Home, container: &Container) -> String {
    let names = &container.wish.names;
    let mut text = String::new();
    for (name, address) in &names.hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    let client = home.client();
    for (id, alias) in &names.links {
        let Ok((other, _)) = crate::container::find(home, id) else {
            continue;
        };
        let own = |network| {
            let mut all = container.wish.attachments.iter();
            all.any(|made| made.network == network)
        };
        for made in &other.wish.attachments {
            if made.ifname.as_str() == "lo" || !own(made.network.clone()) {
                continue;
            }
            let result = attach::result(&client, &other, made).ok().flatten();
            for ip in result.map(|result| result.ips).unwrap_or_default() {
                text.push_str(&format!("{}\t{alias}", ip.address.ip()));
                for name in [other.name.as_str(), &hostname(&other)] {
                    if name != alias {
                        text.push_str(&format!(" {name}"));
                    }
                }
                text.push('\n');
            }
        }
    }
    text
}

fn write(folder: &Folder, name: &str, text: &str) -> Result<()> {
    let path = folder.etc(name);
    fs::write(&path, text).map_err(Error::file("write", path))
}

fn hosts(container: &Container, hostname: &str, made: &[Made]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for made in made.iter().filter(|made| made.ifname.as_str() != "lo") {
        for ip in &made.result.ips {
            text.push_str(&format!("{}\t{hostname}", ip.address.ip()));
            if container.name != hostname {
                text.push_str(&format!(" {}", container.name));
            }
            text.push('\n');
        }
    }
    text
}

/// resolv.conf(5) of what the plugins answered.
fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    for server in &dns.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if let Some(domain) = &dns.domain {
        text.push_str(&format!("domain {domain}\n"));
    }
    for (key, words) in [("search", &dns.search), ("options", &dns.options)] {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    }
    text
}

/// The host's resolv.conf without name servers on the host's loopback, which a container can't reach.
fn without_loopback(text: &str) -> String {
    let reachable = |line: &&str| {
        let server = line
            .strip_prefix("nameserver")
            .and_then(|rest| rest.trim().parse::<IpAddr>().ok());
        !server.is_some_and(|ip| ip.is_loopback())
    };
    text.lines()
        .filter(reachable)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_loopback_are_dropped() {
        let text = "search a b\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n";
        assert_eq!(without_loopback(text), "search a b\nnameserver 192.0.2.1\n");
    }

    #[test]
    fn what_plugins_answer_becomes_a_resolv_conf() {
        let dns = Dns {
            nameservers: vec!["192.0.2.1".into()],
            search: vec!["a".into(), "b".into()],
            ..Dns::default()
        };
        assert_eq!(resolv_conf(&dns), "nameserver 192.0.2.1\nsearch a b\n");
    }
}
