//! The portmap plugin's configuration: parsing it is validating it.
//! The CNI face makes it from a request; the driver reads it.
//! It must never hold a value that the driver would have to refuse.

use ipnetwork::IpNetwork;
use wharfline_kernel::nft::Conditions;
use wharfline_spec::cni::{CniError, NetConf, PortMapping};
use wharfline_spec::fields::{BadField, Fields};

/// Keys of portmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortmapConfig {
    /// `runtimeConfig.portMappings`, each once.
    pub ports: Vec<PortMapping>,
    /// `snat`: clients whose answer would not come back through the host are masqueraded.
    pub masquerade: bool,
    /// `masqAll`: every client is.
    pub masquerade_all: bool,
    /// `conditionsV4`, `conditionsV6`, and `excludeDestinations` (ours).
    pub conditions: Option<Conditions>,
}

impl PortmapConfig {
    /// Reads the plugin's keys.
    ///
    /// # Errors
    /// Code 7 with the key's path, for a wrong type, a value out of range or a combination that makes no sense;
    /// code 2 for conditions that only iptables understands.
    pub(crate) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let fields = conf.fields();
        backend(&fields)?;
        mark(&fields)?;
        Ok(Self {
            ports: ports(conf)?,
            masquerade: fields.bool("snat")?.unwrap_or(true),
            masquerade_all: fields.bool("masqAll")?.unwrap_or(false),
            conditions: conditions(&fields)?,
        })
    }
}

/// The reference's choice of firewall; ours is nftables whatever it says, with the same effect.
fn backend(fields: &Fields<'_>) -> Result<(), BadField> {
    match fields.str("backend")? {
        None | Some("" | "iptables" | "nftables") => Ok(()),
        Some(other) => Err(fields.bad("backend", format!("{other:?} is not iptables or nftables"))),
    }
}

/// The reference marks what it then masquerades, or has another chain mark it. We masquerade without a mark, so the
/// keys are only checked.
fn mark(fields: &Fields<'_>) -> Result<(), BadField> {
    let bit = fields.number::<u32>("markMasqBit")?;
    if bit.is_some_and(|bit| bit > 31) {
        return Err(fields.bad("markMasqBit", "is not between 0 and 31"));
    }
    if bit.is_some() && fields.text("externalSetMarkChain")?.is_some() {
        return Err(fields.bad(
            "externalSetMarkChain",
            "cannot be together with markMasqBit: both say what marks a packet",
        ));
    }
    Ok(())
}

fn ports(conf: &NetConf) -> Result<Vec<PortMapping>, BadField> {
    let mut ports = conf.runtime_config.port_mappings()?;
    ports.sort_unstable();
    ports.dedup();
    for pair in ports.windows(2) {
        let key = |port: &PortMapping| (port.protocol, port.host_port, port.host_ip);
        if let [a, b] = pair
            && ports.iter().filter(|other| key(other) == key(a)).count() > 1
        {
            return Err(BadField::new(
                "runtimeConfig.portMappings",
                format!(
                    "{} port {} is mapped to both {} and {}",
                    a.protocol, a.host_port, a.container_port, b.container_port
                ),
            ));
        }
    }
    Ok(ports)
}

fn conditions(fields: &Fields<'_>) -> Result<Option<Conditions>, CniError> {
    let mut v4 = words(fields, "conditionsV4", "ip")?;
    let mut v6 = words(fields, "conditionsV6", "ip6")?;
    let (mut excluded4, mut excluded6) = (Vec::new(), Vec::new());
    for text in fields.strings("excludeDestinations")? {
        let network: IpNetwork = text.parse().map_err(|_| {
            fields.bad(
                "excludeDestinations",
                format!("{text:?} is not an address or prefix"),
            )
        })?;
        let prefix = format!("{}/{}", network.network(), network.prefix());
        match network {
            IpNetwork::V4(_) => excluded4.push(prefix),
            IpNetwork::V6(_) => excluded6.push(prefix),
        }
    }
    if !excluded4.is_empty() {
        v4.push(format!("ip daddr != {{ {} }}", excluded4.join(", ")));
    }
    if !excluded6.is_empty() {
        v6.push(format!("ip6 daddr != {{ {} }}", excluded6.join(", ")));
    }
    if v4.is_empty() && v6.is_empty() {
        return Ok(None);
    }
    Conditions::new(&v4.join(" "), &v6.join(" "))
        .map(Some)
        .map_err(|e| CniError::invalid_config(format!("conditionsV4, conditionsV6: {e}")))
}

/// The conditions of one family in nft's language. Those of iptables begin with a dash or an exclamation mark, as the
/// reference tells them apart.
fn words(fields: &Fields<'_>, key: &str, family: &str) -> Result<Vec<String>, CniError> {
    let words: Vec<String> = fields
        .strings(key)?
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    if !words
        .first()
        .is_some_and(|word| word.starts_with(['-', '!']))
    {
        return Ok(words);
    }
    translate(&words, family).ok_or_else(|| {
        CniError::new(
            wharfline_spec::cni::code::UNSUPPORTED_FIELD,
            format!(
                "{}: {:?} is iptables syntax beyond [!] -s, -d and -i: write it as nft matches",
                fields.path(key),
                words.join(" ")
            ),
        )
    })
}

/// `[!] -s|-d PREFIX[,PREFIX]` and `[!] -i IFNAME` of iptables(8) as nft matches; `None`: something else stands there.
fn translate(words: &[String], family: &str) -> Option<Vec<String>> {
    let mut matches = Vec::new();
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let (operator, option) = match word {
            "!" => (" !=", rest.next()?),
            option => ("", option),
        };
        let value = rest.next()?;
        let subject = match option {
            "-s" | "--source" | "--src" => format!("{family} saddr"),
            "-d" | "--destination" | "--dst" => format!("{family} daddr"),
            "-i" | "--in-interface" => {
                let name = wharfline_spec::names::IfName::new(value).ok()?;
                matches.push(format!("iifname{operator} \"{name}\""));
                continue;
            }
            _ => return None,
        };
        let prefixes: Option<Vec<String>> = value
            .split(',')
            .map(|prefix| {
                prefix
                    .parse()
                    .ok()
                    .map(|network: IpNetwork| network.to_string())
            })
            .collect();
        matches.push(format!(
            "{subject}{operator} {{ {} }}",
            prefixes?.join(", ")
        ));
    }
    Some(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(keys: &str) -> Result<PortmapConfig, CniError> {
        let text = format!(
            r#"{{"cniVersion":"1.0.0","name":"web","type":"portmap"{}{keys}}}"#,
            if keys.is_empty() { "" } else { "," }
        );
        PortmapConfig::parse(&NetConf::parse(text.as_bytes()).expect("a config"))
    }

    fn conditions(v4: &str, v6: &str) -> Option<Conditions> {
        Some(Conditions::new(v4, v6).expect("matches"))
    }

    #[test]
    fn without_keys_the_defaults_are_the_references() {
        let config = parse("").expect("parsed");
        assert!(config.masquerade && !config.masquerade_all);
        assert!(config.ports.is_empty() && config.conditions.is_none());
    }

    #[test]
    fn keys_of_the_reference_are_accepted_or_refused_by_name() {
        for good in [
            r#""backend":"iptables""#,
            r#""backend":"nftables""#,
            r#""markMasqBit":31"#,
            r#""externalSetMarkChain":"KUBE-MARK-MASQ""#,
            r#""snat":false,"masqAll":true"#,
            r#""conditionsV4":[],"conditionsV6":null"#,
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, key) in [
            (r#""backend":"ebtables""#, "backend"),
            (r#""markMasqBit":32"#, "markMasqBit"),
            (
                r#""markMasqBit":1,"externalSetMarkChain":"X""#,
                "externalSetMarkChain",
            ),
            (r#""snat":"yes""#, "snat"),
            (r#""conditionsV4":"ip saddr 1.1.1.1""#, "conditionsV4"),
            (r#""conditionsV4":["a;b"]"#, "conditionsV4"),
            (r#""conditionsV4":["-m","mark"]"#, "conditionsV4"),
            (r#""excludeDestinations":["x"]"#, "excludeDestinations"),
            (
                r#""runtimeConfig":{"portMappings":[{"hostPort":0,"containerPort":1}]}"#,
                "hostPort",
            ),
            (
                r#""runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1},{"hostPort":1,"containerPort":2}]}"#,
                "portMappings",
            ),
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(error.msg.contains(key), "{bad}: {}", error.msg);
        }
    }

    #[test]
    fn a_port_named_twice_is_one_port_and_case_does_not_matter() {
        let config = parse(
            r#""runtimeConfig":{"PortMappings":[
                {"HostPort":80,"ContainerPort":8080,"Protocol":"TCP"},
                {"hostPort":80,"containerPort":8080}]}"#,
        );
        assert_eq!(config.expect("parsed").ports.len(), 1);
    }

    #[test]
    fn conditions_of_either_firewall_become_nft_matches() {
        let config = parse(r#""conditionsV4":["ip","saddr","10.0.0.0/8"]"#).expect("parsed");
        assert_eq!(config.conditions, conditions("ip saddr 10.0.0.0/8", ""));
        let config = parse(
            r#""conditionsV4":["!","-d","192.0.2.0/24","-i","eth0"],"conditionsV6":["-s","fd00::/8"]"#,
        );
        assert_eq!(
            config.expect("parsed").conditions,
            conditions(
                "ip daddr != { 192.0.2.0/24 } iifname \"eth0\"",
                "ip6 saddr { fd00::/8 }"
            )
        );
        let config = parse(r#""excludeDestinations":["192.0.2.1","fd00::1/64"]"#).expect("parsed");
        assert_eq!(
            config.conditions,
            conditions("ip daddr != { 192.0.2.1/32 }", "ip6 daddr != { fd00::/64 }")
        );
    }
}
