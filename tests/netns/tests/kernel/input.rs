//! Configurations that are wrong: each is refused by name with the right code, and nothing on the host has changed.

use std::process::Stdio;

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{gateway, host_local, with};
use wharfline_netns_tests::{lasting, ours};
use wharfline_testkit::{Attachment, Call, Lab, Namespace, Output, Verb};

/// CNI SPEC, "Error": unsupported field 2, undecodable content 6, invalid network config 7.
const ABOUT_CONFIG: [u64; 3] = [2, 6, 7];

/// A host on which nothing has happened yet, and a container that wants an address.
struct Cold {
    lab: Lab,
    pod: Namespace,
    complaints: Vec<String>,
}

impl Cold {
    fn new() -> Cold {
        let lab = Lab::new();
        let pod = lab.namespace("pod");
        Cold {
            lab,
            pod,
            complaints: Vec::new(),
        }
    }

    fn add(&self, config: &Value) -> Call {
        Call::new(&ours(), Verb::Add, config, &Attachment::of(&self.pod))
    }

    /// Makes the call, and notes if it is not refused with one of `codes`, does not say `word`, or changed anything.
    fn refuses(&mut self, what: &str, call: &Call, codes: &[u64], word: &str) {
        let before = lasting(self.lab.world_with(&[&self.pod]));
        let outcome = call.make(&self.lab);
        let answer: Value = serde_json::from_str(&outcome.output.stdout).unwrap_or_default();
        let told = format!("{} {}", answer["msg"], answer["details"]);
        if outcome.succeeded() || !codes.contains(&answer["code"].as_u64().unwrap_or_default()) {
            self.complaints
                .push(format!("{what}: expected code {codes:?}: {outcome}"));
        } else if !told.contains(word) {
            self.complaints
                .push(format!("{what}: does not say {word:?}: {told}"));
        }
        let difference = before.difference(&lasting(self.lab.world_with(&[&self.pod])));
        if !difference.is_empty() {
            self.complaints
                .push(format!("{what}: left behind:\n{difference}"));
            self.pod.try_exec(&["ip", "link", "del", "eth0"], "");
            self.lab.try_exec(&["ip", "link", "del", "cni0"], "");
        }
    }

    /// Each of `values` in place of `key` of `config`, which pointer `at` leads to.
    fn refuses_values(&mut self, config: &Value, at: &str, key: &str, values: Vec<Value>) {
        for value in values {
            let mut config = config.clone();
            let place = config
                .pointer_mut(at)
                .expect("a pointer into the configuration");
            place[key] = value.clone();
            let call = self.add(&config);
            self.refuses(&format!("{key}: {value}"), &call, &ABOUT_CONFIG, key);
        }
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let complaints = std::mem::take(&mut self.complaints);
            assert!(
                complaints.is_empty(),
                "{} complaints:\n{}",
                complaints.len(),
                complaints.join("\n")
            );
        }
    }
}

fn bridge() -> Value {
    let named = json!({"cniVersion": "1.1.0", "name": "net"});
    with(&gateway(&host_local("10.88.0.0/24")), &named)
}

fn not_booleans() -> Vec<Value> {
    vec![json!("true"), json!(1), json!([]), json!({})]
}

#[test]
fn booleans_of_bridge() {
    let mut cold = Cold::new();
    for key in [
        "isGateway",
        "isDefaultGateway",
        "forceAddress",
        "ipMasq",
        "hairpinMode",
        "promiscMode",
        "macspoofchk",
        "enabledad",
        "portIsolation",
        "preserveDefaultVlan",
        "disableContainerInterface",
        "keepBridge",
    ] {
        cold.refuses_values(&bridge(), "", key, not_booleans());
    }
}

#[test]
fn names_numbers_and_choices_of_bridge() {
    let mut cold = Cold::new();
    let config = bridge();
    let names = [
        json!(7),
        json!({}),
        json!("sixteen-letters-"),
        json!("a/b"),
        json!(".."),
        json!("a b"),
        json!("a:b"),
    ];
    cold.refuses_values(&config, "", "bridge", names.into());
    let mtus = [
        json!("1500"),
        json!(-1),
        json!(1.5),
        json!(1e30),
        json!(70_000),
        json!(10),
        json!([1500]),
    ];
    cold.refuses_values(&config, "", "mtu", mtus.into());
    cold.refuses_values(
        &config,
        "",
        "vlan",
        vec![json!("5"), json!(-1), json!(4095), json!(1.5), json!({})],
    );
    let trunks = [
        json!(5),
        json!({}),
        json!([5]),
        json!([{}]),
        json!([{"id": 0}]),
        json!([{"id": 4095}]),
        json!([{"id": "5"}]),
        json!([{"minID": 5}]),
        json!([{"maxID": 5}]),
        json!([{"minID": 9, "maxID": 5}]),
        json!([{"minID": 0, "maxID": 5}]),
    ];
    cold.refuses_values(&config, "", "vlanTrunk", trunks.into());
    cold.refuses_values(
        &config,
        "",
        "ipMasqBackend",
        vec![json!("ebtables"), json!(1), json!({})],
    );
    cold.refuses_values(
        &config,
        "",
        "overflow",
        vec![json!("ptp2"), json!(true), json!({})],
    );
}

#[test]
fn every_key_of_ptp() {
    let mut cold = Cold::new();
    let config = json!({"cniVersion": "1.1.0", "name": "net", "type": "ptp",
        "ipam": host_local("10.88.0.0/24")});
    cold.refuses_values(&config, "", "ipMasq", not_booleans());
    let backends = vec![json!("ebtables"), json!(1), json!({})];
    cold.refuses_values(&config, "", "ipMasqBackend", backends);
    let mtus = vec![
        json!("1500"),
        json!(-1),
        json!(1.5),
        json!(70_000),
        json!(10),
    ];
    cold.refuses_values(&config, "", "mtu", mtus);
    cold.refuses_values(&config, "", "dns", vec![json!(5), json!([])]);
    cold.refuses_values(&config, "", "ipam", vec![json!({}), json!(5), json!([1])]);
}

#[test]
fn addresses_of_host_local() {
    let mut cold = Cold::new();
    let config = bridge();
    let ranges = [
        json!(5),
        json!({}),
        json!("10.88.0.0/24"),
        json!([]),
        json!([[]]),
        json!([[{}]]),
        json!([[5]]),
        json!([[{"subnet": "x"}]]),
        json!([[{"subnet": 5}]]),
        json!([[{"subnet": "10.88.0.0/33"}]]),
        json!([[{"subnet": "10.88.0.0/32"}]]),
        json!([[{"subnet": "10.88.0.0/24", "rangeStart": "10.89.0.1"}]]),
        json!([[{"subnet": "10.88.0.0/24", "rangeEnd": "10.89.0.1"}]]),
        json!([[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.8"}]]),
        json!([[{"subnet": "10.88.0.0/24", "rangeStart": "fd00::1"}]]),
        json!([[{"subnet": "10.88.0.0/24", "gateway": "x"}]]),
        json!([[{"subnet": "10.88.0.0/24"}], [{"subnet": "10.88.0.128/25"}]]),
        json!([[{"subnet": "10.88.0.0/24"}, {"subnet": "fd00::/64"}]]),
    ];
    for value in ranges {
        let mut config = config.clone();
        config["ipam"]["ranges"] = value.clone();
        let call = cold.add(&config);
        cold.refuses(&format!("ranges: {value}"), &call, &ABOUT_CONFIG, "");
    }
    let routes = [
        json!(5),
        json!({}),
        json!([5]),
        json!([{}]),
        json!([{"dst": "x"}]),
        json!([{"dst": "10.0.0.0/8", "gw": "x"}]),
    ];
    cold.refuses_values(&config, "/ipam", "routes", routes.into());
    cold.refuses_values(&config, "/ipam", "dataDir", vec![json!(5), json!({})]);
    cold.refuses_values(&config, "/ipam", "resolvConf", vec![json!(5), json!({})]);
}

#[test]
fn the_frame_of_the_configuration() {
    let mut cold = Cold::new();
    let config = bridge();
    cold.refuses_values(
        &config,
        "",
        "name",
        vec![
            json!(5),
            json!(""),
            json!("a b"),
            json!("-a"),
            json!("../up"),
            json!({}),
        ],
    );
    cold.refuses_values(
        &config,
        "",
        "ipam",
        vec![json!(5), json!("host-local"), json!([1])],
    );
    cold.refuses_values(
        &config,
        "/ipam",
        "type",
        vec![json!(5), json!("../bridge"), json!("a/b")],
    );
    cold.refuses_values(
        &config,
        "",
        "prevResult",
        vec![json!(5), json!("x"), json!([])],
    );
    cold.refuses_values(
        &config,
        "",
        "dns",
        vec![json!(5), json!({"nameservers": 5})],
    );
    for (version, codes) in [
        (json!("9.9.9"), &[1][..]),
        (json!("x"), &[1, 6, 7][..]),
        (json!(5), &[6, 7][..]),
    ] {
        let call = cold.add(&with(&config, &json!({"cniVersion": version})));
        cold.refuses(&format!("cniVersion {version}"), &call, codes, "ersion");
    }
    let with_mac = |mac: &str| {
        with(
            &config,
            &json!({"runtimeConfig": {"mac": mac}, "capabilities": {"mac": true}}),
        )
    };
    for mac in ["x", "02:00", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
        let call = cold.add(&with_mac(mac));
        cold.refuses(&format!("mac {mac}"), &call, &ABOUT_CONFIG, "mac");
    }
}

#[test]
fn keys_of_portmap() {
    let mut cold = Cold::new();
    let previous = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": cold.pod.path()}],
        "ips": [{"address": "10.88.0.2/24", "interface": 0}], "dns": {}});
    let config = json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
        "prevResult": previous});
    for key in ["snat", "masqAll"] {
        cold.refuses_values(&config, "", key, not_booleans());
    }
    cold.refuses_values(
        &config,
        "",
        "markMasqBit",
        vec![json!(32), json!(-1), json!("13"), json!({})],
    );
    cold.refuses_values(&config, "", "backend", vec![json!("ipvs"), json!(5)]);
    cold.refuses_values(
        &config,
        "",
        "conditionsV4",
        vec![json!("-s 1.2.3.4"), json!([5]), json!({})],
    );
    cold.refuses_values(
        &config,
        "/runtimeConfig",
        "portMappings",
        vec![json!(5), json!({}), json!([5])],
    );
    let mapping = "/runtimeConfig/portMappings/0";
    let numbers = || {
        vec![
            json!(0),
            json!(-1),
            json!(65_536),
            json!("80"),
            json!(1.5),
            json!({}),
        ]
    };
    cold.refuses_values(&config, mapping, "hostPort", numbers());
    cold.refuses_values(&config, mapping, "containerPort", numbers());
    cold.refuses_values(&config, mapping, "protocol", vec![json!("icmp"), json!(6)]);
    cold.refuses_values(
        &config,
        mapping,
        "hostIP",
        vec![json!("x"), json!(5), json!("10.0.0.0/8")],
    );
}

#[test]
fn truncated_and_huge_json() {
    let mut cold = Cold::new();
    let whole = bridge().to_string();
    let with_stdin = |cold: &Cold, stdin: Vec<u8>| {
        Call::raw(&ours(), "bridge", Verb::Add, stdin)
            .env("CNI_CONTAINERID", "pod")
            .env("CNI_NETNS", cold.pod.path())
            .env("CNI_IFNAME", "eth0")
    };
    for length in (0..whole.len()).step_by(13) {
        let call = with_stdin(&cold, whole.as_bytes()[..length].to_vec());
        cold.refuses(&format!("{length} bytes of it"), &call, &[6], "");
    }
    let huge_name = with(&bridge(), &json!({"name": "n".repeat(8 << 20)})).to_string();
    let deep = format!("{{\"a\":{}", "[".repeat(200_000));
    let others = [
        ("a huge name", huge_name.into_bytes()),
        ("a deep nesting", deep.into_bytes()),
        ("no UTF-8", b"{\"name\": \"\xff\xfe\"}".to_vec()),
        ("a list", b"[]".to_vec()),
        ("two documents", format!("{whole}{whole}").into_bytes()),
        ("zeros", vec![0; 1 << 20]),
    ];
    for (what, stdin) in others {
        let call = with_stdin(&cold, stdin);
        cold.refuses(what, &call, &ABOUT_CONFIG, "");
    }
}

#[test]
fn the_environment() {
    let mut cold = Cold::new();
    let good = cold.add(&bridge());
    // CNI_PATH is optional but for GC (CNI SPEC, section 3); our own allocator needs none.
    for (verb, names) in [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"][..]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
        ("GC", &["CNI_PATH"]),
    ] {
        for name in names {
            let call = good.clone().env("CNI_COMMAND", verb).without_env(name);
            cold.refuses(&format!("{verb} without {name}"), &call, &[4], name);
        }
    }
    cold.refuses(
        "no command",
        &good.clone().without_env("CNI_COMMAND"),
        &[4],
        "CNI_COMMAND",
    );
    cold.refuses(
        "an unknown command",
        &good.clone().env("CNI_COMMAND", "ADDD"),
        &[4],
        "ADDD",
    );
    for id in ["a/b", "../x", "-a", "a b", "\u{e9}"] {
        cold.refuses(
            &format!("container id {id}"),
            &good.clone().env("CNI_CONTAINERID", id),
            &[4],
            "CNI_CONTAINERID",
        );
    }
    for name in ["sixteen-letters-", "a/b", "..", ".", "a:b", "a b"] {
        cold.refuses(
            &format!("interface name {name}"),
            &good.clone().env("CNI_IFNAME", name),
            &[4],
            "CNI_IFNAME",
        );
    }
    let missing: Vec<_> = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"].into();
    let call = missing
        .iter()
        .fold(good.clone(), |call, name| call.without_env(name));
    for name in missing {
        cold.refuses("three variables missing", &call, &[4], name);
    }
}

#[test]
fn namespaces_that_are_none_or_the_hosts() {
    let mut cold = Cold::new();
    let good = cold.add(&bridge());
    cold.lab
        .enter(|| std::fs::write("/run/netns/file", "").expect("make a file"));
    for path in [
        "/run/netns/none",
        "/run/netns/file",
        "/run/netns",
        "/proc/self/ns/mnt",
        "/dev/null",
    ] {
        cold.refuses(path, &good.clone().env("CNI_NETNS", path), &[3, 4, 8], path);
    }
    for path in ["/proc/self/ns/net", "/proc/thread-self/ns/net"] {
        cold.refuses(
            path,
            &good.clone().env("CNI_NETNS", path),
            &[4, 7, 8],
            "own network namespace",
        );
    }
    // A path by pid may be anybody's once the container is gone: what is on the host goes all the same.
    let pod = cold.lab.namespace("gone");
    let attachment = Attachment::of(&pod);
    let added = Call::new(&ours(), Verb::Add, &bridge(), &attachment).make(&cold.lab);
    let name = added.ok()["interfaces"][1]["name"].clone();
    let link = format!("host link {}", name.as_str().expect("a name"));
    assert!(cold.lab.world().state(&link).is_some());
    let mistaken = Call::new(&ours(), Verb::Del, &bridge(), &attachment);
    mistaken
        .env("CNI_NETNS", "/proc/self/ns/net")
        .make(&cold.lab)
        .ok();
    assert_eq!(cold.lab.world().state(&link), None);
}

#[test]
fn no_permission() {
    let mut cold = Cold::new();
    let config = bridge();
    let binary = ours().find("bridge");
    let before = lasting(cold.lab.world());
    let mut command = cold.lab.command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--",
    ]);
    // A copy: the build directory need not be readable for nobody.
    cold.lab
        .exec(&["cp", &binary.display().to_string(), "/run/bridge"]);
    command
        .arg("/run/bridge")
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", "pod")
        .env("CNI_IFNAME", "eth0");
    command
        .env("CNI_NETNS", cold.pod.path())
        .env("CNI_PATH", ours().cni_path());
    let output = cold.lab.run_command(command, config.to_string().as_bytes());
    let answer: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"));
    let told = format!("{} {}", answer["msg"], answer["details"]).to_lowercase();
    if output.succeeded() || !(told.contains("permi") || told.contains("privilege")) {
        cold.complaints.push(format!("no permission: {output}"));
    }
    let left = before.difference(&lasting(cold.lab.world().without("file /run/bridge")));
    assert!(left.is_empty(), "{left}");
}

/// A plugin that is asked for its versions, with its streams as `redirections` of the shell say.
fn versions(redirections: &str) -> Output {
    let lab = Lab::new();
    let mut command = lab.command("bash");
    let script = format!("exec \"$0\" {redirections}");
    command.args(["-c", &script]).arg(ours().find("loopback"));
    command.env("CNI_COMMAND", "VERSION");
    lab.run_command(command, b"{}")
}

#[test]
fn a_closed_standard_stream_leads_nowhere() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"] {
        let output = versions(closed);
        assert!(output.succeeded(), "{closed}: {output}");
    }
}

#[test]
fn a_reader_who_is_gone_is_an_error_and_no_signal() {
    let lab = Lab::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = lab.command(ours().find("loopback"));
    command.env("CNI_COMMAND", "VERSION").stdin(Stdio::null());
    command.stdout(writer).stderr(Stdio::piped());
    let output = command.output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Broken pipe"), "{said}");
}
