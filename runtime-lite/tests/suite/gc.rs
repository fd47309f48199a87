//! `wharf gc` for other runtimes: what their caches, the plugins' records and the leases prove, and what they don't.

use std::time::Duration;

use serde_json::{Value, json};
use wharfline_cni::client::{Attach, Client};
use wharfline_spec::cni::ConfList;
use wharfline_spec::{ContainerId, IfName};
use wharfline_testkit::{Process, wait_for};

use crate::support::Host;

const CONFLIST: &str = "/etc/cni/net.d/10-theirs.conflist";
const LEASES: &str = "/var/lib/cni/networks/theirs";

/// Another runtime on the host: it uses libcni's cache and our plugins.
struct Runtime<'a> {
    host: &'a Host,
    list: ConfList,
}

impl<'a> Runtime<'a> {
    fn new(host: &'a Host, version: &str) -> Runtime<'a> {
        let document = json!({"cniVersion": version, "name": "theirs", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.8.0.0/24"}]]}}]});
        std::fs::create_dir_all(host.lab.path("/etc/cni/net.d")).expect("made");
        std::fs::write(host.lab.path(CONFLIST), document.to_string()).expect("written");
        let list = ConfList::parse(document.to_string().as_bytes()).expect("a list");
        Runtime { host, list }
    }

    /// Attaches a container whose namespace is called `name`.
    fn attach(&self, name: &str) {
        let path = format!("/run/netns/{name}");
        let attach = Attach::new(
            ContainerId::new(name).expect("an id"),
            Some(path.into()),
            IfName::new("eth0").expect("a name"),
        );
        let path = self.host.plugins().split(':').map(Into::into).collect();
        let client = Client::new(path, "/var/lib/cni");
        self.host
            .lab
            .enter(|| client.add(&self.list, &attach))
            .expect("attached");
    }

    fn leases(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.host.lab.path(LEASES)).expect("listed");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.into_string().expect("a name"))
            .filter(|name| name.starts_with("10."))
            .collect();
        names.sort();
        names
    }

    fn lease(&self, address: &str, container: &str) {
        let path = self.host.lab.path(LEASES).join(address);
        std::fs::write(path, format!("{container}\r\neth0")).expect("written");
    }
}

fn objects(plan: &Value) -> Vec<&str> {
    let kept = plan["kept"].as_array().expect("a list");
    kept.iter()
        .filter_map(|kept| kept["object"].as_str())
        .collect()
}

fn collects_the_dead_only(version: &str) {
    let host = Host::new();
    let _alive = host.lab.namespace("alive");
    let dead = host.lab.namespace("dead");
    let runtime = Runtime::new(&host, version);
    runtime.attach("alive");
    runtime.attach("dead");
    assert_eq!(runtime.leases(), ["10.8.0.2", "10.8.0.3"]);
    drop(dead);
    // The dead one's link may still be going.
    let files = || host.world().without("host ");
    let before = files();
    let plan = host.wharf(&["gc", "--dry-run", "--json"]).json();
    assert!(
        before.difference(&files()).is_empty(),
        "a dry run changed something"
    );
    assert_eq!(plan["detach"][0]["container"], "dead", "{plan:#}");
    assert_eq!(plan["detach"].as_array().map(Vec::len), Some(1), "{plan:#}");
    host.wharf(&["gc"]).ok();
    assert_eq!(runtime.leases(), ["10.8.0.2"]);
    let cache = host.lab.exec(&["ls", "/var/lib/cni/results"]);
    assert!(
        cache.contains("theirs-alive-eth0") && !cache.contains("dead"),
        "{cache}"
    );
    let again = host.wharf(&["gc", "--dry-run", "--json"]).json();
    assert_eq!(again["detach"], json!([]), "{again:#}");
}

#[test]
fn a_container_whose_namespace_is_gone_is_detached_and_a_living_one_kept() {
    collects_the_dead_only("1.1.0");
}

#[test]
fn networks_of_versions_without_gc_are_cleaned_by_del() {
    collects_the_dead_only("0.4.0");
}

#[test]
fn an_attachment_without_cache_is_known_by_its_record() {
    let host = Host::new();
    let _alive = host.lab.namespace("alive");
    let dead = host.lab.namespace("dead");
    let runtime = Runtime::new(&host, "1.1.0");
    runtime.attach("alive");
    runtime.attach("dead");
    std::fs::remove_dir_all(host.lab.path("/var/lib/cni/results")).expect("lost");
    drop(dead);
    host.wharf(&["gc"]).ok();
    assert_eq!(runtime.leases(), ["10.8.0.2"]);
}

#[test]
fn a_lease_that_nobody_speaks_of_is_kept_unless_forced() {
    let host = Host::new();
    let _alive = host.lab.namespace("alive");
    let runtime = Runtime::new(&host, "1.1.0");
    runtime.attach("alive");
    runtime.lease("10.8.0.77", "stranger");
    let plan = host.wharf(&["gc", "--json"]).json();
    assert_eq!(objects(&plan), ["eth0 of stranger on theirs"], "{plan:#}");
    assert_eq!(runtime.leases(), ["10.8.0.2", "10.8.0.77"]);
    host.wharf(&["gc", "--force"]).ok();
    assert_eq!(runtime.leases(), ["10.8.0.2"]);
}

#[test]
fn a_namespace_that_we_may_only_not_see_is_kept() {
    let host = Host::new();
    let hidden = host.lab.namespace("hidden");
    let runtime = Runtime::new(&host, "1.1.0");
    runtime.attach("hidden");
    drop(hidden);
    // As it looks from a mount namespace that the mount did not reach: a file, and a record that can't be checked.
    std::fs::write(host.lab.path("/run/netns/hidden"), "").expect("written");
    let plan = host.wharf(&["gc", "--dry-run", "--json"]).json();
    assert_eq!(plan["detach"], json!([]), "{plan:#}");
    assert_eq!(objects(&plan), ["eth0 of hidden on theirs"], "{plan:#}");
}

/// `bridge serve`, with a network of Docker's that has three endpoints with a port each: of a living container, of one that
/// is gone, and of one that is still being made.
struct Driver {
    _served: Process,
}

impl Driver {
    const NETWORK: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn start(host: &Host) -> Driver {
        let mut command = host.lab.command(host.bin("bridge"));
        command.arg("serve").stderr(std::process::Stdio::null());
        let served = Process::start(command);
        let socket = host.lab.path("/run/docker/plugins/wharf-bridge.sock");
        wait_for("the driver", Duration::from_secs(20), || {
            socket.exists().then_some(()).ok_or("no socket".to_owned())
        });
        Driver { _served: served }
    }

    /// A call as dockerd makes it.
    fn call(host: &Host, method: &str, mut body: Value) {
        body["NetworkID"] = Self::NETWORK.into();
        let socket = "/run/docker/plugins/wharf-bridge.sock";
        let (url, body) = (
            format!("http://driver/NetworkDriver.{method}"),
            body.to_string(),
        );
        let said = host
            .lab
            .exec(&["curl", "-sf", "--unix-socket", socket, "-d", &body, &url]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert!(said.get("Err").is_none(), "{method}: {said}");
    }

    fn make_network(host: &Host) {
        let pool = json!({"Pool": "10.66.1.0/24", "Gateway": "10.66.1.1/24"});
        let options = json!({"com.docker.network.generic": {}});
        Self::call(
            host,
            "CreateNetwork",
            json!({"Options": options, "IPv4Data": [pool], "IPv6Data": []}),
        );
    }

    fn make_endpoint(host: &Host, id: &str, number: u8, sandbox: Option<&str>) {
        let address = format!("10.66.1.{number}/24");
        let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
        Self::call(
            host,
            "CreateEndpoint",
            json!({"EndpointID": id, "Options": {}, "Interface": interface}),
        );
        let Some(sandbox) = sandbox else { return };
        let sandbox = format!("/run/netns/{sandbox}");
        Self::call(
            host,
            "Join",
            json!({"EndpointID": id, "SandboxKey": sandbox, "Options": {}}),
        );
        let outside = 8080 + u16::from(number);
        let port = json!({"Proto": 6, "Port": 80, "HostPort": outside, "HostPortEnd": outside});
        let options = json!({"com.docker.network.portmap": [port]});
        Self::call(
            host,
            "ProgramExternalConnectivity",
            json!({"EndpointID": id, "Options": options}),
        );
    }

    /// The endpoints of which there are records, of links and of ports.
    fn recorded(host: &Host) -> Vec<String> {
        let find = "cd /run/wharfline; find host-* -name '*@*.json' | sed 's,host-[0-9]*/,,; s,/a*/, ,; s,@.*,,' | sort";
        let found = host.lab.exec(&["sh", "-c", find]);
        found.lines().map(str::to_owned).collect()
    }
}

#[test]
fn dockers_endpoints_are_dissolved_by_their_driver_once_their_containers_are_gone() {
    let host = Host::new();
    let living = host.lab.namespace("living");
    let gone = host.lab.namespace("gone");
    let driver = Driver::start(&host);
    Driver::make_network(&host);
    Driver::make_endpoint(&host, "living", 2, Some("living"));
    Driver::make_endpoint(&host, "gone", 3, Some("gone"));
    Driver::make_endpoint(&host, "unborn", 4, None);
    host.wharf(&["gc"]).ok();
    let all = [
        "bridge gone",
        "bridge living",
        "bridge unborn",
        "bridge-ports gone",
        "bridge-ports living",
    ];
    assert_eq!(Driver::recorded(&host), all);
    drop(gone);
    let plan = host.wharf(&["gc", "--dry-run", "--json"]).json();
    let dissolved = plan["dissolve"].as_array().map(Vec::len);
    assert_eq!(dissolved, Some(1), "{plan:#}");
    assert_eq!(plan["dissolve"][0]["container"], "gone");
    assert_eq!(Driver::recorded(&host), all);
    host.wharf(&["gc"]).ok();
    let left = ["bridge living", "bridge unborn", "bridge-ports living"];
    assert_eq!(Driver::recorded(&host), left);
    let rules = host.lab.exec(&["nft", "list", "ruleset"]);
    assert!(rules.contains("8082") && !rules.contains("8083"), "{rules}");
    // Without the driver nobody may touch what is its.
    drop((driver, living));
    let plan = host.wharf(&["gc", "--json"]).json();
    assert_eq!(Driver::recorded(&host), left);
    assert!(
        plan["kept"].to_string().contains("does not run"),
        "{plan:#}"
    );
}

#[test]
fn a_network_of_which_nothing_is_known_is_not_collected() {
    let host = Host::new();
    let _runtime = Runtime::new(&host, "1.1.0");
    let plan = host.wharf(&["gc", "--json"]).json();
    assert_eq!(plan["collect"], json!([]), "{plan:#}");
    assert_eq!(objects(&plan), ["network theirs"], "{plan:#}");
}

#[test]
fn a_broken_file_hides_nothing_and_stops_nothing() {
    let host = Host::new();
    let dead = host.lab.namespace("dead");
    let runtime = Runtime::new(&host, "1.1.0");
    runtime.attach("dead");
    drop(dead);
    std::fs::write(host.lab.path("/var/lib/cni/results/broken"), "{").expect("written");
    std::fs::write(host.lab.path("/etc/cni/net.d/99-broken.conflist"), "{").expect("written");
    let done = host.wharf(&["gc", "--json"]).json();
    assert_eq!(
        done["unreadable"].as_array().map(Vec::len),
        Some(2),
        "{done:#}"
    );
    assert_eq!(runtime.leases(), Vec::<String>::new());
}
