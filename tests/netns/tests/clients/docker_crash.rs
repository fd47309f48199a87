//! SIGKILL of dockerd, of our plugins, or of both, at random moments while containers come and go: what should run runs
//! again with address and port, no address is two containers', and nothing of it is left in the end.
//!
//! A few moments in `./test`; fifty with WHARFLINE_LONG=1. The seed is printed; WHARFLINE_SEED repeats its moments.

#![expect(
    clippy::print_stdout,
    reason = "seed, moments and figures are for people"
)]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, wait_for};

use wharfline_netns_tests::docker_host::{DockerHost, PAGE, PLUGINS};
use wharfline_netns_tests::machine::{IMAGE, Machine, fetches};

/// What runs all the time, with the port that it publishes.
const LASTING: [(&str, u16); 2] = [("web", 8080), ("second", 8081)];
/// The longest that a kill waits for its moment: some lives of a container.
const LONGEST: u64 = 4_000;

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Dockerd,
    Plugins,
    Both,
}

/// A generator of Lehmer's: the same numbers for the same seed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let given = std::env::var("WHARFLINE_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0) % 2_147_483_646 + 1);
        println!("WHARFLINE_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        self.0 % below
    }
}

/// Removes what the kills left of those that come and go.
fn remove_brief(host: &DockerHost) {
    wait_for("containers to be removed", Duration::from_secs(60), || {
        let left = host.docker(&["ps", "-aq", "--filter", "name=brief-"]);
        for id in left.lines() {
            let remove = ["docker", "-H", "unix:///run/docker.sock", "rm", "-f", id];
            host.machine.try_run(&remove);
        }
        left.is_empty().then_some(()).ok_or(left)
    });
}

fn strike(host: &mut DockerHost, victim: Victim) {
    let dockerd = !matches!(victim, Victim::Plugins);
    let plugins = !matches!(victim, Victim::Dockerd);
    let mut names = Vec::new();
    names.extend(plugins.then_some(PLUGINS).into_iter().flatten());
    names.extend(dockerd.then_some("dockerd"));
    host.machine.kill(&names);
    if plugins {
        host.plugins.clear();
        host.start_plugins();
    }
    if dockerd {
        host.docker_is_gone();
        host.start_dockerd();
    }
}

/// All that should run runs, with a port that answers and an address of its own.
fn is_whole(host: &DockerHost) {
    for (name, port) in LASTING {
        wait_for(&format!("{name} to run"), Duration::from_secs(60), || {
            let state = [
                "inspect",
                "-f",
                "{{.State.Running}} {{.State.Restarting}}",
                name,
            ];
            let state = host.docker(&state);
            (state == "true false").then_some(()).ok_or(state)
        });
        assert!(
            fetches(&host.outside, tcp(Outside::HOST_V4, port)).contains(PAGE),
            "{name}"
        );
    }
    let mut holders: HashMap<String, String> = HashMap::new();
    for id in host.docker(&["ps", "-q"]).lines() {
        let address = host.v4(id, "net1");
        assert!(!address.is_empty(), "{id} has no address");
        if let Some(other) = holders.insert(address.clone(), id.to_owned()) {
            panic!("{address} is {other}'s and {id}'s");
        }
    }
    let leased: HashSet<String> = leased(host).into_iter().collect();
    for (address, id) in &holders {
        assert!(
            leased.contains(address),
            "{address} of {id} is not leased: {leased:?}"
        );
    }
}

/// Every leased address.
fn leased(host: &DockerHost) -> Vec<String> {
    let world = host.machine.lab.world();
    let files = world.objects("file /var/lib/wharfline/ipam/leases/");
    let names = files.filter_map(|file| file.rsplit('/').next().map(str::to_owned));
    names.filter(|name| name.starts_with("10.77.")).collect()
}

/// `wharf gc`, some minutes after all that is leased now was leased.
fn collect_later(host: &DockerHost, options: &[&str]) -> String {
    let leases = "/var/lib/wharfline/ipam/leases/*/10.77.*";
    let grow_old = format!("touch -d '6 minutes ago' {leases}");
    host.machine.run(&["sh", "-c", &grow_old]);
    collect(host, options)
}

fn collect(host: &DockerHost, options: &[&str]) -> String {
    let wharf = wharfline_netns_tests::ours().find("wharf");
    let wharf = wharf.to_str().expect("a path in UTF-8");
    host.machine.run(&[&[wharf, "gc"], options].concat())
}

/// Asks for an address as a dockerd does that is killed right after.
fn forget_an_address(host: &DockerHost) {
    let body = r#"{"PoolID": "wharf-local/10.77.1.0/24", "Address": "", "Options": {}}"#;
    let socket = ["--unix-socket", "/run/docker/plugins/wharf-ipam.sock"];
    let url = "http://plugin/IpamDriver.RequestAddress";
    let told = host
        .machine
        .run(&[&["curl", "-sS"], &socket[..], &["-d", body, url]].concat());
    assert!(told.contains("10.77.1."), "{told}");
}

/// One container after another, until it is told to stop; commands of a dead dockerd fail.
fn come_and_go(machine: &Machine, round: u64, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("brief-{round}-{number}");
        let publish = format!("{}:80", 9000 + number % 100);
        let docker = ["timeout", "20", "docker", "-H", "unix:///run/docker.sock"];
        let run = [
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            "net1",
            "-p",
            &publish,
            IMAGE,
        ];
        machine.try_run(&[&docker[..], &run].concat());
        machine.try_run(&[&docker[..], &["rm", "-f", &name]].concat());
    }
}

#[test]
fn an_address_that_dockerd_has_forgotten_is_given_back_by_gc_and_no_other() {
    let mut host = DockerHost::boot();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    host.run("web", "net1", &[]);
    forget_an_address(&host);
    let all = ["10.77.1.1", "10.77.1.2", "10.77.1.3"];
    collect(&host, &[]);
    assert_eq!(leased(&host), all, "dockerd may be about to write it down");
    let plan = collect_later(&host, &["--dry-run"]);
    let release = "would release address 10.77.1.3 of pool wharf-local/10.77.1.0/24";
    assert!(plan.contains(release), "{plan}");
    assert_eq!(leased(&host), all);
    // Nobody else may take it back, and nobody knows what a dockerd that is down has forgotten.
    host.kill(&["host-local"]);
    let plan = collect_later(&host, &[]);
    assert!(plan.contains("keep address 10.77.1.3"), "{plan}");
    assert_eq!(leased(&host), all);
    host.start_plugins();
    host.kill(&["dockerd"]);
    host.docker_is_gone();
    collect_later(&host, &[]);
    assert_eq!(leased(&host), all);
    host.start_dockerd();
    collect_later(&host, &[]);
    assert_eq!(leased(&host), all[..1], "web went with its dockerd");
    host.remove(&["web"], "net1");
}

#[test]
fn killed_at_random_moments_everything_comes_back_and_nothing_is_left() {
    let rounds = match std::env::var_os("WHARFLINE_LONG") {
        Some(_) => 50,
        None => 6,
    };
    let mut moments = Moments::new();
    let mut host = DockerHost::boot();
    let before = host.warm_up();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    for (name, port) in LASTING {
        host.run(
            name,
            "net1",
            &["-p", &format!("{port}:80"), "--restart", "always"],
        );
    }
    let mut strikes = 0;
    for round in 0..rounds {
        let victim = [Victim::Dockerd, Victim::Plugins, Victim::Both][moments.next(3) as usize];
        let after = Duration::from_millis(moments.next(LONGEST));
        println!("round {round}: {victim:?} after {after:?}");
        strikes += usize::from(!matches!(victim, Victim::Plugins));
        let stop = AtomicBool::new(false);
        let machine = host.machine.clone();
        thread::scope(|scope| {
            scope.spawn(|| come_and_go(&machine, round, &stop));
            thread::park_timeout(after);
            strike(&mut host, victim);
            stop.store(true, Ordering::Relaxed);
        });
        is_whole(&host);
        remove_brief(&host);
    }
    host.docker(&["rm", "-f", "web", "second"]);
    let gateway = ["10.77.1.1"];
    let forgotten = leased(&host).len() - gateway.len();
    collect_later(&host, &[]);
    assert_eq!(leased(&host), gateway);
    println!("{rounds} rounds, {strikes} of dockerd; {forgotten} addresses were forgotten by it");
    assert!(
        forgotten <= strikes,
        "{forgotten} addresses are left of {strikes} kills of dockerd"
    );
    host.docker(&["network", "rm", "net1"]);
    let ours = |world: wharfline_testkit::World| {
        // dockerd itself puts its jumps in another order when it starts again.
        world.without("host nft ip filter chain FORWARD rule")
    };
    ours(before).returns("the host is as before", || ours(host.world()));
}
