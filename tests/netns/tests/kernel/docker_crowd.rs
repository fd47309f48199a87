//! 64 clients at once, with sense and with nonsense: neither server falls over, none waits for another for ever, and what
//! is left is exactly what the calls say. Five seconds in `./test`, a minute with WHARFLINE_LONG=1.

#![expect(clippy::print_stdout, reason = "its figures are for people")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharfline_netns_tests::docker::{Answer, Server, endpoint, join, network, of, ports};
use wharfline_testkit::Lab;

use crate::docker::warm;

const CLIENTS: u8 = 64;

fn long() -> Duration {
    match std::env::var_os("WHARFLINE_LONG") {
        Some(_) => Duration::from_secs(60),
        None => Duration::from_secs(5),
    }
}

/// One client: its own order of calls, and how long each answer took.
struct Client<'a> {
    server: &'a Server,
    number: u8,
    state: u64,
    times: Vec<Duration>,
}

impl<'a> Client<'a> {
    fn new(server: &'a Server, number: u8) -> Self {
        Self {
            server,
            number,
            state: u64::from(number) + 1,
            times: Vec::new(),
        }
    }

    /// A generator of Lehmer's: the same order at each run of the test.
    fn next(&mut self, below: u64) -> u64 {
        self.state = self.state * 48_271 % 2_147_483_647;
        self.state % below
    }

    fn call(&mut self, path: &str, body: &str) -> Answer {
        let begun = Instant::now();
        let answer = self.server.post(path, body);
        self.times.push(begun.elapsed());
        let told = answer.body["Err"].as_str().unwrap_or_default();
        assert!(
            answer.status < 400 || !told.is_empty(),
            "{path}: {answer:?}"
        );
        assert!(!told.contains("defect"), "{path}: {told}");
        answer
    }

    /// What no dockerd would send: each is answered, or given up by the server, and harms nobody.
    fn nonsense(&mut self) {
        let call = match self.next(8) {
            0 => ("/NetworkDriver.CreateNetwork", r#"{"NetworkID": 7}"#),
            1 => (
                "/NetworkDriver.Join",
                r#"{"NetworkID":"n1","EndpointID":"../../etc"}"#,
            ),
            2 => (
                "/IpamDriver.RequestAddress",
                r#"{"PoolID":"../..","Address":"x"}"#,
            ),
            3 => ("/NetworkDriver.CreateEndpoint", "[[[[[[[["),
            4 => ("/../../Plugin.Activate", "{}"),
            5 => (
                "/NetworkDriver.Leave",
                r#"{"NetworkID":"n1","EndpointID":"nobody"}"#,
            ),
            6 => {
                return self
                    .hang_up(b"POST /NetworkDriver.Join HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
            }
            _ => return self.hang_up(b"\x16\x03\x01 this is no HTTP\r\n\r\n"),
        };
        self.call(call.0, call.1);
    }

    fn hang_up(&self, bytes: &[u8]) {
        let mut stream = UnixStream::connect(self.server.socket()).expect("connect");
        // It may be closed already.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 256]);
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    let longest = times.last().expect("calls").as_secs_f64() * 1000.0;
    println!(
        "{what}: {} calls of {CLIENTS} clients in {:?}; p50 {:.2} ms, p99 {:.2} ms, longest {longest:.2} ms",
        times.len(),
        long(),
        at(50),
        at(99),
    );
}

#[test]
fn many_clients_of_networks_with_sense_and_nonsense_leave_what_their_calls_say() {
    let lab = Lab::new();
    let mut server = Server::start(&lab, "bridge");
    let before = warm(&lab, &server);
    let sandbox = lab.namespace("everybodys");
    server.call(
        "/NetworkDriver.CreateNetwork",
        &network("n1", "10.66.0.0/16"),
    );
    let until = Instant::now() + long();
    let clients = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (server, path) = (&server, sandbox.path());
                scope.spawn(move || live(Client::new(server, number), path, until))
            })
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        ended.collect::<Vec<_>>()
    });
    assert!(server.ended().is_none(), "the server has ended");
    let mut times = Vec::new();
    let world = lab.world();
    for (number, spent, exists) in clients {
        let id = format!("e{number}");
        let known = server.post(
            "/NetworkDriver.EndpointOperInfo",
            &of("n1", &id).to_string(),
        );
        assert_eq!(known.status == 200, exists, "{id}: {known:?}");
        let mut records = world.objects("file /run/wharfline/");
        let recorded = records.any(|file| file.contains(&format!("bridge/n1/{id}@")));
        assert_eq!(recorded, exists, "{id}");
        times.extend(spent);
    }
    report("networks", times);
    server.call("/NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
    before.returns("the host is as before", || crate::docker::world(&lab));
}

/// Calls about an endpoint of its own, in any order: whose it is, the times, and whether it is there in the end.
fn live(mut client: Client<'_>, sandbox: &str, until: Instant) -> (u8, Vec<Duration>, bool) {
    let id = format!("e{}", client.number);
    let address = format!("10.66.9.{}/16", client.number + 1);
    let port = 10_000 + u16::from(client.number);
    let mut exists = false;
    while Instant::now() < until {
        let about = of("n1", &id);
        let (call, body): (&str, Value) = match client.next(10) {
            0 | 1 => ("CreateEndpoint", endpoint("n1", &id, &address)),
            2 => ("Join", join("n1", &id, sandbox)),
            3 | 4 => (
                "ProgramExternalConnectivity",
                ports("n1", &id, &[(port, 80)]),
            ),
            5 => ("RevokeExternalConnectivity", about),
            6 => ("Leave", about),
            7 => ("DeleteEndpoint", about),
            8 => ("EndpointOperInfo", about),
            _ => {
                client.nonsense();
                continue;
            }
        };
        let answer = client.call(&format!("/NetworkDriver.{call}"), &body.to_string());
        let needs_one = matches!(
            call,
            "Join" | "ProgramExternalConnectivity" | "EndpointOperInfo"
        );
        let done = !needs_one || exists;
        assert_eq!(answer.status == 200, done, "{call} of {id}: {answer:?}");
        match call {
            "CreateEndpoint" => exists = true,
            "DeleteEndpoint" => exists = false,
            _ => {}
        }
    }
    (client.number, client.times, exists)
}

#[test]
fn many_clients_of_addresses_with_sense_and_nonsense_never_share_one() {
    let lab = Lab::new();
    let mut server = Server::start(&lab, "host-local");
    let pool = json!({"AddressSpace": "wharf-local", "Pool": "10.66.0.0/16"});
    let pool = server.call("/IpamDriver.RequestPool", &pool)["PoolID"].clone();
    let until = Instant::now() + long();
    let clients = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (server, pool) = (&server, &pool);
                scope.spawn(move || lease(Client::new(server, number), pool, until))
            })
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        ended.collect::<Vec<_>>()
    });
    assert!(server.ended().is_none(), "the server has ended");
    let mut held = BTreeSet::new();
    let mut times = Vec::new();
    for (spent, addresses) in clients {
        for address in addresses {
            assert!(held.insert(address.clone()), "{address} is held twice");
        }
        times.extend(spent);
    }
    report("addresses", times);
    let world = lab.world();
    let files = world.objects("file /var/lib/wharfline/ipam/leases/");
    let names = files.filter_map(|file| file.rsplit('/').next().map(str::to_owned));
    let leased: BTreeSet<String> = names.filter(|name| name.starts_with("10.66.")).collect();
    assert_eq!(leased, held);
    for address in held {
        let body = json!({"PoolID": pool, "Address": address});
        server.call("/IpamDriver.ReleaseAddress", &body);
    }
    server.call("/IpamDriver.ReleasePool", &json!({"PoolID": pool}));
    let left = lab.world();
    let left: Vec<_> = left
        .objects("file /var/lib/wharfline/ipam/pools/")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Takes addresses and gives them back, and asks for its own again: the times, and those that it has in the end.
fn lease(mut client: Client<'_>, pool: &Value, until: Instant) -> (Vec<Duration>, Vec<String>) {
    let mut held: Vec<String> = Vec::new();
    while Instant::now() < until {
        match client.next(6) {
            0..=2 if held.len() < 50 => {
                let body = json!({"PoolID": pool}).to_string();
                let answer = client.call("/IpamDriver.RequestAddress", &body);
                assert_eq!(answer.status, 200, "{answer:?}");
                let address = answer.body["Address"].as_str().expect("an address");
                held.push(address.trim_end_matches("/16").to_owned());
            }
            3 if !held.is_empty() => {
                // Another's, as far as anybody knows.
                let body = json!({"PoolID": pool, "Address": held[0]}).to_string();
                let answer = client.call("/IpamDriver.RequestAddress", &body);
                assert!(answer.status >= 400, "{answer:?}");
            }
            4 => client.nonsense(),
            _ => {
                let Some(address) = held.pop() else { continue };
                let body = json!({"PoolID": pool, "Address": address}).to_string();
                let answer = client.call("/IpamDriver.ReleaseAddress", &body);
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    }
    (client.times, held)
}
