//! What the ingress's process holds in RAM: fresh, with many kept-alive connections, and with as many
//! that never finish their request's head, while another client goes on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::blocking;
use super::servers::{Servers, Who};
use crate::admin;
use crate::bench::generator::{Generator, Pace};
use crate::bench::report::{Direction, Report};
use crate::bench::template::singles;
use crate::wait::{Seen, wait_until};

/// Connections of each kind.
const CONNECTIONS: u32 = 10_000;
const MIB: f64 = 1024.0 * 1024.0;
const IDLE_MIB: f64 = 40.0;
const CONNECTIONS_MIB: f64 = 200.0;

/// How many connections come from one address of 127.0.0.0/8: far below an ingress's bound for it.
const PER_ADDRESS: u32 = 50;
/// What a slow client sends of its head.
const HALF_HEAD: &[u8] = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthor";

/// The other client beside the slow ones: for five seconds.
const OTHERS: u32 = 16;
const OTHERS_PER_S: f64 = 200.0;
const OTHERS_REQUESTS: u64 = 1_000;
/// From our end of the connections to the server's.
const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// From the last answer until every connection holds no buffers any more, and from then until the
/// system has them.
const REST_DEADLINE: Duration = Duration::from_secs(30);
const GIVEN_BACK: Duration = Duration::from_secs(4);

/// Measures the ingress on Kafka.
pub async fn measure(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let process = servers.process(Who::Kafka)?;
    let resident = || Ok::<_, anyhow::Error>(process.resident_bytes()? as f64 / MIB);
    let peak = || Ok::<_, anyhow::Error>(process.resident_bytes_peak()? as f64 / MIB);
    report.note_against("memory, idle", resident()?, "MiB", (Direction::AtMost, IDLE_MIB));
    let (address, admin) = (servers.subject(Who::Kafka)?.address, servers.admin()?);

    let kept = blocking(move || kept_alive(address)).await?;
    at_rest(admin).await?;
    let name = format!("memory, {CONNECTIONS} idle connections");
    report.note_against(name, resident()?, "MiB", (Direction::AtMost, CONNECTIONS_MIB));
    report.note(
        format!("memory, {CONNECTIONS} requests answered at once, the most"),
        peak()?,
        "MiB",
    );
    drop(kept);
    wait_until("the idle connections to be gone", GONE_DEADLINE, async || {
        let open = admin::metric(admin, "shock_ingress_connections").await?;
        Ok(if open < 100.0 { Seen::There(()) } else { Seen::NotYet(format!("{open} are open")) })
    })
    .await?;

    process.forget_resident_peak()?;
    let slow = blocking(move || (0..CONNECTIONS).map(|n| half_a_head(address, n)).collect());
    let slow: Vec<TcpStream> = slow.await?;
    let others = blocking(move || {
        let mut generator = Generator::open(address, OTHERS, &singles(), 0)?;
        generator.run(OTHERS_REQUESTS, Pace::Open { per_s: OTHERS_PER_S })
    });
    let others = others.await.context("another client beside slow ones")?;
    report.note(format!("memory, {CONNECTIONS} half-sent heads, the most"), peak()?, "MiB");
    drop(slow);
    let p99_ms = others.latency_ns.value_at_quantile(0.99) as f64 / 1e6;
    report.note("p99 of another client beside half-sent heads", p99_ms, "ms");
    Ok(())
}

/// Waits until the connections are idle, and what they held is given back.
async fn at_rest(admin: SocketAddr) -> anyhow::Result<()> {
    wait_until("the connections to rest", REST_DEADLINE, async || {
        let resting = admin::metric(admin, "shock_ingress_connections_resting").await?;
        let all = resting >= f64::from(CONNECTIONS);
        Ok(if all { Seen::There(()) } else { Seen::NotYet(format!("{resting} rest")) })
    })
    .await?;
    tokio::time::sleep(GIVEN_BACK).await;
    Ok(())
}

/// Connections on each of which one request was answered: all are sent before an answer is awaited.
fn kept_alive(address: SocketAddr) -> anyhow::Result<Vec<TcpStream>> {
    let mut template = singles().swap_remove(0);
    let mut ask = |number: u32| {
        let mut stream = connect(address, number)?;
        template.number(u64::from(number));
        stream.write_all(template.bytes()).context("a request")?;
        Ok(stream)
    };
    let mut streams = (0..CONNECTIONS).map(&mut ask).collect::<anyhow::Result<Vec<_>>>()?;
    for stream in &mut streams {
        let length = stream.read(&mut [0; 1024]).context("an answer")?;
        ensure!(length > 0, "a connection was closed");
    }
    Ok(streams)
}

fn half_a_head(address: SocketAddr, number: u32) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address, number)?;
    stream.write_all(HALF_HEAD).context("half a head")?;
    Ok(stream)
}

/// From one of many addresses of loopback, as if these were many clients.
fn connect(address: SocketAddr, number: u32) -> anyhow::Result<TcpStream> {
    let [high, low] = (number / PER_ADDRESS + 1).to_be_bytes()[2..] else {
        unreachable!("two of four")
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("socket")?;
    let from = SocketAddr::from(([127, 1, high, low], 0));
    socket.bind(&from.into()).with_context(|| format!("bind {from}"))?;
    socket.connect(&address.into()).with_context(|| format!("connect to {address}"))?;
    Ok(socket.into())
}

/// As many files as the system allows, for this process and those it starts: a connection is one, at
/// either end.
pub fn raise_file_limit() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("open files")
}
