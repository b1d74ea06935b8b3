//! The emulated provider does what it says: each behaviour measured with loads of the lab, small here and in full size by
//! `cargo xtask long isp`. Everything runs in network namespaces, so as root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::network::{Host, HostPlan, Network, Rule};
use lab::udp_load::{Arrived, Load, Sent, Sink, send};

#[path = "network/hosts.rs"]
mod hosts;
#[path = "network/lines.rs"]
mod lines;
#[path = "network/long.rs"]
mod long;
#[path = "network/programs.rs"]
mod programs;
#[path = "network/rules.rs"]
mod rules;

type Outcome = anyhow::Result<()>;

/// Length of a window of the records.
const TENTH: Duration = Duration::from_millis(100);
/// The port that most tests send to.
const PORT: u16 = 9000;
/// Bytes of IPv4 and UDP headers, and of IPv6 and UDP headers.
const HEADERS: [f64; 2] = [28.0, 48.0];
/// Packets on their way when the sender ends are waited for so long, beside the delay of the path.
const LINGER: Duration = Duration::from_millis(150);

/// How long a packet that is expected may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client and a server at cables, and these rules between them.
fn cables(rules: &[Rule]) -> anyhow::Result<Network> {
    let network = Network::start(&["client", "server"].map(HostPlan::cable))?;
    network.set_rules(rules)?;
    Ok(network)
}

/// The server's two addresses with a port.
fn both_families(host: &Host, port: u16) -> [SocketAddr; 2] {
    [(host.ipv4(), port).into(), (host.ipv6(), port).into()]
}

/// The provider's two addresses at the host's link.
fn gateways(host: &Host) -> [IpAddr; 2] {
    [host.gateway_ipv4().into(), host.gateway_ipv6().into()]
}

/// A socket on any port of the host, in the family of `to`.
fn any_socket(host: &Host, to: SocketAddr) -> anyhow::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    host.namespace().udp_socket((any, 0).into())
}

/// A load from a fresh port of one host to an address of another.
struct Flow<'network> {
    from: &'network Host,
    to: (&'network Host, SocketAddr),
    load: Load,
}

impl Flow<'_> {
    fn run(&self) -> anyhow::Result<(Sent, Arrived)> {
        let (host, address) = self.to;
        let sink = Sink::start(host.namespace().udp_socket(address)?, TENTH)?;
        let sent = send(&any_socket(self.from, address)?, address, self.load)?;
        std::thread::sleep(LINGER);
        Ok((sent, sink.finish()?))
    }
}

/// A load to the first address of a host.
fn flow(from: &Host, to: (&Host, SocketAddr), load: Load) -> anyhow::Result<(Sent, Arrived)> {
    Flow { from, to, load }.run()
}

/// The same load between two hosts four times at once: up in both families, then down in both.
fn four_flows(client: &Host, server: &Host, load: Load) -> anyhow::Result<Vec<(Sent, Arrived)>> {
    let flows = [(client, server), (server, client)]
        .map(|(from, to)| both_families(to, PORT).map(|address| Flow { from, to: (to, address), load }));
    let flows = flows.as_flattened();
    std::thread::scope(|scope| {
        let threads: Vec<_> = flows.iter().map(|flow| scope.spawn(|| flow.run())).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().ok().context("a flow panicked")?;
        threads.into_iter().map(join).collect()
    })
}

/// Fails if a number is not within a share of what is expected.
fn ensure_near(what: &str, measured: f64, expected: f64, share: f64) -> Outcome {
    ensure!((measured - expected).abs() <= expected * share, "{what}: {measured:.0}, expected {expected:.0}");
    Ok(())
}

/// Runs a measurement that reads the clock until it holds, three times at most. On a busy machine a sender or a sink may
/// stand still for a while; an emulation that is wrong is wrong every time.
#[expect(clippy::print_stderr, reason = "what an attempt measured is shown if a later one fails")]
fn within_three(measurement: impl Fn() -> Outcome) -> Outcome {
    for attempt in 1..3 {
        match measurement() {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("attempt {attempt}: {error:#}"),
        }
    }
    measurement()
}

/// Where the receiver sees the socket, after a single packet that is expected to arrive.
fn seen(socket: &UdpSocket, server: &UdpSocket) -> anyhow::Result<Option<SocketAddr>> {
    seen_at(socket, server, server.local_addr()?)
}

/// The same with a packet to one of the addresses at which the receiver listens.
fn seen_at(socket: &UdpSocket, server: &UdpSocket, to: SocketAddr) -> anyhow::Result<Option<SocketAddr>> {
    server.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"probe", to)?;
    received(server)
}

/// The same with a packet that is expected to vanish.
fn seen_briefly(socket: &UdpSocket, server: &UdpSocket) -> anyhow::Result<Option<SocketAddr>> {
    server.set_read_timeout(Some(LINGER))?;
    socket.send_to(b"probe", server.local_addr()?)?;
    received(server)
}

/// The sender of the next packet, if one comes within the socket's timeout.
fn received(socket: &UdpSocket) -> anyhow::Result<Option<SocketAddr>> {
    match socket.recv_from(&mut [0; 64]) {
        Ok((_, from)) => Ok(Some(from)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
