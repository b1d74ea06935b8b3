//! The parts of the lab for use by hand; see the README.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints its results")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use adversary::Direction;
use anyhow::Context;
use clap::Parser;
use lab::load::{self, Service};
use lab::measure::{self, Part};
use lab::network;
use lab::plain::{self, Control};
use lab::quic_load;
use lab::recording::Recording;
use lab::relay::{Relay, RelayConfig};
use lab::udp_load;
use lab::unix_load::{self, Work};
use simnet::{Loss, Path, Seed};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes that wait in front of a throttled line.
const QUEUE_BYTES: usize = 64_000;

/// Relay, baselines and loads for measuring by hand.
#[derive(Debug, Parser)]
#[command(name = "lab")]
enum Command {
    /// Stand between two nodes, record, and be a bad line
    Relay(RelayArguments),
    /// Accept TCP and carry it over one QUIC connection
    PlainEntry(PlainArguments),
    /// Accept one QUIC connection and carry its streams to TCP
    PlainExit(PlainArguments),
    /// Send back what comes
    Echo(ListenArguments),
    /// Read everything
    Sink(ListenArguments),
    /// Send bytes to whoever connects
    Source(SourceArguments),
    /// Measure round trips to an echo server
    Latency(LatencyArguments),
    /// Measure a pair beside the baseline, and print the figures as Markdown
    Measure(MeasureArguments),
    /// Make a network of namespaces and keep it until Ctrl-C; without a name, list them
    Network {
        /// Which one
        name: Option<String>,
    },
    /// Send numbered UDP packets, and print as JSON how many
    UdpSend(UdpSendArguments),
    /// Receive numbered UDP packets for a time, and print as JSON what came, when and from whom
    UdpSink(UdpSinkArguments),
    /// Serve downloads over QUIC, and print as JSON, for each, where its client was and what was lost
    QuicServer(ListenArguments),
    /// Download over QUIC for a time, and print the goodput as JSON
    QuicDownload(QuicDownloadArguments),
    /// Load a unix socket for a time, and print as JSON what that came to
    UnixLoad(UnixLoadArguments),
}

#[derive(Debug, clap::Args)]
struct RelayArguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
    /// One-way delay in both directions
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Chance of loss in both directions, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Speed of the line in both directions
    #[arg(long)]
    bits_per_second: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds between two reports
    #[arg(long, default_value_t = 5)]
    every_s: u64,
}

#[derive(Debug, clap::Args)]
struct PlainArguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_enum, default_value_t = Control::Cubic)]
    control: Control,
}

#[derive(Debug, clap::Args)]
struct ListenArguments {
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Debug, clap::Args)]
struct SourceArguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
}

#[derive(Debug, clap::Args)]
struct LatencyArguments {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 400)]
    count: usize,
    /// Mean pause between two round trips
    #[arg(long, default_value_t = 9_300)]
    gap_us: u64,
}

#[derive(Debug, clap::Args)]
struct MeasureArguments {
    /// What to measure; without any, everything that needs no bad line
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How often each thing is measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of one transfer
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// How many video players there are, one row each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    players: Vec<u32>,
    /// Write the figures into this file as well
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct UdpSendArguments {
    #[arg(long)]
    to: SocketAddr,
    /// Of UDP payload
    #[arg(long)]
    bits_per_second: u64,
    #[arg(long, default_value_t = 1200)]
    payload_bytes: usize,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[derive(Debug, clap::Args)]
struct UdpSinkArguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// Length of a window of the record
    #[arg(long, default_value_t = 100)]
    every_ms: u64,
}

#[derive(Debug, clap::Args)]
struct QuicDownloadArguments {
    #[arg(long)]
    to: SocketAddr,
    /// For how long
    #[arg(long, default_value_t = 10_000)]
    ms: u64,
    /// Length of a window of the record
    #[arg(long, default_value_t = 100)]
    every_ms: u64,
}

#[derive(Debug, clap::Args)]
struct UnixLoadArguments {
    #[arg(long)]
    to: PathBuf,
    #[arg(long, value_enum)]
    work: Work,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Relay(arguments) => relay(&arguments),
        Command::PlainEntry(it) => runtime()?.block_on(plain::entry(it.listen, it.to, it.control)),
        Command::PlainExit(it) => runtime()?.block_on(plain::exit(it.listen, it.to, it.control)),
        Command::Echo(it) => serve(it.listen, Service::Echo),
        Command::Sink(it) => serve(it.listen, Service::Sink),
        Command::Source(it) => serve(it.listen, Service::Source { bytes: it.bytes }),
        Command::Latency(arguments) => latency(&arguments),
        Command::Measure(arguments) => measure(&arguments),
        Command::Network { name: None } => list_networks(),
        Command::Network { name: Some(name) } => keep_network(&name),
        Command::UdpSend(arguments) => udp_send(&arguments),
        Command::UdpSink(arguments) => udp_sink(&arguments),
        Command::QuicServer(it) => runtime()?.block_on(quic_server(it.listen)),
        Command::QuicDownload(arguments) => runtime()?.block_on(quic_download(&arguments)),
        Command::UnixLoad(it) => print_json(&unix_load::run(&it.to, it.work, Duration::from_secs(it.seconds))?),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn serve(listen: SocketAddr, service: Service) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    load::serve(&listener, service);
    Ok(())
}

fn relay(arguments: &RelayArguments) -> anyhow::Result<()> {
    let mut path = Path::with_delay(Duration::from_millis(arguments.delay_ms));
    if arguments.loss > 0.0 {
        path = path.with_loss(Loss::Independent(arguments.loss));
    }
    if let Some(rate) = arguments.bits_per_second {
        path = path.with_rate(rate, QUEUE_BYTES);
    }
    let config =
        RelayConfig { listen: arguments.listen, seed: Seed::new(arguments.seed), ..RelayConfig::to(arguments.to) };
    let relay = Relay::start(config.with_paths(path))?;
    loop {
        std::thread::sleep(Duration::from_secs(arguments.every_s));
        report(&relay.take_recording());
    }
}

fn report(recording: &Recording) {
    for direction in [Direction::Outward, Direction::Inward] {
        let sightings = recording.sightings();
        let lengths: Vec<usize> = sightings.iter().filter(|it| it.direction == direction).map(|it| it.length).collect();
        let (least, most) = (lengths.iter().min().unwrap_or(&0), lengths.iter().max().unwrap_or(&0));
        println!("{direction}: {} packets of {least} to {most} bytes", lengths.len());
    }
    println!("not forwarded: {}", recording.dropped());
}

fn latency(arguments: &LatencyArguments) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(arguments.to).with_context(|| format!("cannot connect to {}", arguments.to))?;
    let times = load::latencies(&mut stream, arguments.count, Duration::from_micros(arguments.gap_us))?;
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let time = load::quantile(&times, share).context("no round trips were asked for")?;
        println!("{name} {:.3} ms", time.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn measure(arguments: &MeasureArguments) -> anyhow::Result<()> {
    let parts = if arguments.parts.is_empty() { &measure::SPEED } else { arguments.parts.as_slice() };
    let plan =
        measure::Plan { rounds: arguments.rounds, seconds: arguments.seconds, players: arguments.players.clone() };
    let mut page = String::new();
    for part in parts {
        let section = measure::section(*part, &plan, &|what| eprintln!("{what} ..."))?;
        print!("{section}");
        page += &section;
    }
    if let Some(file) = &arguments.write {
        std::fs::write(file, &page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn list_networks() -> anyhow::Result<()> {
    network::CATALOG.iter().for_each(|entry| println!("{:<15} {}", entry.name, entry.about));
    Ok(())
}

fn keep_network(name: &str) -> anyhow::Result<()> {
    let entry = network::find(name)?;
    runtime()?.block_on(async {
        // Before the namespaces, so that a Ctrl-C always finds somebody who removes them.
        let [mut interrupt, mut terminate] = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let network = entry.start()?;
        println!("{}: {}\n\n{}\nCtrl-C removes it.", entry.name, entry.about, network.describe());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        anyhow::Ok(())
    })
}

fn udp_send(arguments: &UdpSendArguments) -> anyhow::Result<()> {
    let any: IpAddr = if arguments.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).context("no free port")?;
    let lasting = Duration::from_secs(arguments.seconds);
    let load =
        udp_load::Load { bits_per_second: arguments.bits_per_second, payload_bytes: arguments.payload_bytes, lasting };
    print_json(&udp_load::send(&socket, arguments.to, load)?)
}

fn udp_sink(arguments: &UdpSinkArguments) -> anyhow::Result<()> {
    let listen = arguments.listen;
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let [lasting, every] = [Duration::from_secs(arguments.seconds), Duration::from_millis(arguments.every_ms)];
    print_json(&udp_load::receive_for(&socket, lasting, every)?)
}

async fn quic_server(listen: SocketAddr) -> anyhow::Result<()> {
    let endpoint = quic_load::listen(listen)?;
    eprintln!("{} {listen}", lab::downloads::LISTENING);
    let print = |served: quic_load::Served| {
        if let Err(error) = print_json(&served) {
            eprintln!("{error:#}");
        }
    };
    quic_load::serve(&endpoint, print).await;
    Ok(())
}

async fn quic_download(arguments: &QuicDownloadArguments) -> anyhow::Result<()> {
    let endpoint = quic_load::client(arguments.to)?;
    let [lasting, every] = [arguments.ms, arguments.every_ms].map(Duration::from_millis);
    print_json(&quic_load::download(&endpoint, arguments.to, lasting, every).await?)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
