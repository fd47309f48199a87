//! Reads a file of the form of /etc/resolv.conf for the key `resolvConf`.
//! Called by ADD, whose result carries what the file says.
//! Must never fail on a line that it does not know.

use wharfline_spec::cni::Dns;

/// What the lines say (resolv.conf(5)), as the reference reads them: the last `domain` wins, all other
/// lines add up.
#[must_use]
pub fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']))
    {
        let mut words = line.split_whitespace();
        let (Some(key), Some(first)) = (words.next(), words.next()) else {
            continue;
        };
        let all = || {
            std::iter::once(first)
                .chain(words.clone())
                .map(str::to_owned)
        };
        match key {
            "nameserver" => dns.nameservers.push(first.to_owned()),
            "domain" => dns.domain = Some(first.to_owned()),
            "search" => dns.search.extend(all()),
            "options" => dns.options.extend(all()),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_reference_reads_them() {
        let dns = parse(
            "# comment\n; another\nnameserver 192.0.2.1\n nameserver 2001:db8::1 \ndomain one\n\
             domain two\nsearch a b\nsearch c\noptions ndots:2 edns0\nsortlist 10/8\nnameserver\n\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(dns.domain.as_deref(), Some("two"));
        assert_eq!(dns.search, ["a", "b", "c"]);
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
        assert_eq!(parse(""), Dns::default());
    }
}
