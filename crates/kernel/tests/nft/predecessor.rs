//! What the packaged reference plugins leave for a container is cleared by us, and nothing else of theirs (G6).

use std::io::Write;
use std::process::{Command, Stdio};

use wharfline_kernel::nft::{Named, Nft};

use crate::lab::{Space, become_host, run};

/// Runs a packaged plugin (apt: containernetworking-plugins) with a config on its stdin.
fn reference(plugin: &str, container: &str, netns: &str, config: &str) -> String {
    let mut child = Command::new(format!("/usr/lib/cni/{plugin}"))
        .envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/usr/lib/cni"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the packaged plugin");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(config.as_bytes()).expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    text
}

fn add(container: &str, leases: &str, port: u16) -> Space {
    let space = Space::new();
    let path = space.path();
    let config = format!(
        r#"{{"cniVersion":"1.0.0","name":"web","type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,
            "ipam":{{"type":"host-local","dataDir":"{leases}",
                     "ranges":[[{{"subnet":"10.88.0.0/16"}}],[{{"subnet":"fd88::/64"}}]]}}}}"#
    );
    let result = reference("bridge", container, &path, &config);
    let config = format!(
        r#"{{"cniVersion":"1.0.0","name":"web","type":"portmap","prevResult":{result},
            "runtimeConfig":{{"portMappings":[
              {{"hostPort":{port},"containerPort":80,"protocol":"tcp"}},
              {{"hostPort":{port},"containerPort":80,"protocol":"udp"}}]}}}}"#
    );
    reference("portmap", container, &path, &config);
    space
}

fn named<'a>(container: &'a str) -> Named<'a> {
    Named {
        network: "web",
        container,
        ifname: "eth0",
    }
}

#[test]
fn iptables_rules_of_the_packaged_plugins_are_cleared_for_one_container_only() {
    become_host();
    let leases = leases_folder();
    let [mine, theirs] = ["0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4)];
    let _spaces = [add(&theirs, &leases, 9090)];
    let before = run("iptables-save; ip6tables-save").replace("Completed", "");
    let kept = [add(&mine, &leases, 8080)];
    assert!(run("iptables-save").contains("8080"));
    let mut nft = Nft::open().expect("a socket");
    let cleared = nft.clear_predecessor(&named(&mine)).expect("cleared");
    assert_eq!(
        cleared, 6,
        "in each family one rule that masquerades, two that translate"
    );
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines(&run("iptables-save; ip6tables-save")), lines(&before));
    assert_eq!(nft.clear_predecessor(&named(&mine)), Ok(0));
    std::fs::remove_dir_all(&leases).expect("removed");
    drop(kept);
}

#[test]
fn rules_of_the_nftables_back_ends_are_cleared_by_their_comments() {
    become_host();
    // As pkg/ip/ipmasq_nftables_linux.go and plugins/meta/portmap/portmap_nftables.go of version 1.9 write them.
    let rules = |container: &str, port: u16| {
        let long =
            format!("0123456789abcdef-fedcba9876543210, net: web, if: eth0, id: {container}");
        let comment = &long[..long.len().min(128)];
        run(&format!(
            "nft add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.1.0.2 \
                 ip daddr != 10.1.0.0/16 masquerade comment '\"{comment}\"'
             nft add rule ip cni_hostport hostports tcp dport {port} dnat to 10.1.0.2:80 \
                 comment '\"{container}\"'
             nft add rule ip cni_hostport masquerading ip saddr 10.1.0.2 ip daddr 10.1.0.2 \
                 masquerade comment '\"{container}\"'"
        ));
    };
    run("nft 'add table inet cni_plugins_masquerade; add chain inet cni_plugins_masquerade masq_checks;
              add table ip cni_hostport; add chain ip cni_hostport hostports;
              add chain ip cni_hostport masquerading'");
    let [mine, theirs] = ["0123456789abcdef".repeat(4), "0123456789abcdee".repeat(4)];
    rules(&theirs, 9090);
    let before = run("nft list ruleset");
    rules(&mine, 8080);
    let mut nft = Nft::open().expect("a socket");
    assert_eq!(nft.clear_predecessor(&named(&mine)), Ok(3));
    assert_eq!(run("nft list ruleset"), before);
    assert_eq!(
        nft.clear_predecessor(&named("")),
        Ok(0),
        "no name clears nothing"
    );
}

fn leases_folder() -> String {
    run("mktemp -d").trim().to_owned()
}
