//! Requests and responses between two containers on one parent: by our macvlan, and over two links that nobody looks after.
//! A request is one byte over TCP, and so is its response; both pairs take turns on hosts of their own.
//! The time must never have anything of an attachment in it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use super::Bench;
use crate::error::{Context, Result};
use crate::lab::Container;
use crate::report::{Figure, Row};
use crate::side::{Shape, Side, without_bridge};
use crate::stats::{median, median_ratio, ms};

/// Where each pair's server listens.
const PORT: u16 = 7000;

/// Microseconds of a request with its response.
pub(crate) fn on_one_parent(bench: &Bench) -> Result<Vec<Row>> {
    let lab = &bench.lab;
    let (rounds, requests) = bench.size((40, 2000), (6, 500));
    let mut sides = [
        Side::floor_of(&lab.host()?, &bench.floor, Shape::Parent),
        Side::chain(&lab.host()?, &bench.ours, vec![without_bridge("macvlan")]),
    ];
    let mut pairs = Vec::new();
    for side in &mut sides {
        let pair = lab.containers(2)?;
        for container in &pair {
            side.add(container)?;
        }
        pairs.push(pair);
    }
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for step in 0..pairs.len() {
            let now = (round + step) % pairs.len();
            times[now].push(converse(&pairs[now], requests)?);
        }
    }
    for (side, pair) in sides.iter_mut().zip(&pairs) {
        for container in pair {
            side.del(container)?;
        }
    }
    let [bare, ours] = times;
    let ratio = median_ratio(&ours, &bare);
    Ok(vec![Row {
        case: "a request and its response on one parent".into(),
        floor: Some(Figure::number(median(&bare), "us")),
        ours: Some(Figure::number(median(&ours), "us")),
        measured: format!("{ratio:.2} times as long as over bare macvlan links"),
        target: "at most 1.05 times",
        met: Some(ratio <= 1.05),
        ..Row::default()
    }])
}

/// The mean of one in microseconds, of as many as said.
fn converse(pair: &[Container], requests: u32) -> Result<f64> {
    let [client, server] = pair else {
        return Err("two containers converse".into());
    };
    let address = server.run(own_address)?;
    let listener = server.run(|| TcpListener::bind((address, PORT)).context(|| "listen".into()))?;
    thread::scope(|scope| {
        let serving = scope.spawn(move || serve(&listener));
        let asked = client.run(|| ask(SocketAddrV4::new(address, PORT), requests));
        let served = serving
            .join()
            .unwrap_or_else(|_| Err("a server panicked".into()));
        let asked = asked?;
        served.map(|()| asked)
    })
}

fn serve(listener: &TcpListener) -> Result<()> {
    let accepted = listener.accept().context(|| "accept a client".to_owned());
    let (mut stream, _) = accepted?;
    let told = || "answer a request".to_owned();
    stream.set_nodelay(true).context(told)?;
    let mut byte = [0];
    while stream.read(&mut byte).context(told)? == 1 {
        stream.write_all(&byte).context(told)?;
    }
    Ok(())
}

fn ask(server: SocketAddrV4, requests: u32) -> Result<f64> {
    let told = || format!("ask {server}");
    let mut stream = TcpStream::connect(server).context(told)?;
    stream.set_nodelay(true).context(told)?;
    let mut byte = [7];
    let begun = Instant::now();
    for _ in 0..requests {
        stream.write_all(&byte).context(told)?;
        stream.read_exact(&mut byte).context(told)?;
    }
    Ok(ms(begun.elapsed()) * 1000.0 / f64::from(requests))
}

/// The address of the calling thread's namespace: what it would ask the gateway from.
fn own_address() -> Result<Ipv4Addr> {
    let told = || "find a container's own address".to_owned();
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context(told)?;
    socket
        .connect((Ipv4Addr::new(10, 88, 0, 1), 9))
        .context(told)?;
    match socket.local_addr().context(told)? {
        std::net::SocketAddr::V4(address) => Ok(*address.ip()),
        std::net::SocketAddr::V6(_) => Err(told().into()),
    }
}
