//! The command line of `hushwire hop`.

use clap::{Args, Subcommand};
use hop_proxy::Target;
use port_hopping::hosts::Endpoints;
use port_hopping::interval::Interval;
use port_hopping::ports::PortSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct HopArgs {
    #[command(subcommand)]
    pub(crate) command: HopCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HopCommand {
    /// Run the client: programs send here, and their datagrams go to ports of the server that change
    Client(HopClientArgs),
    /// Run the server: hears the ports, and gives each sender a socket of its own towards the target
    Server(HopServerArgs),
    /// Ask a client or server that runs which ports its flows are on, since when and why
    Status(HopStatusArgs),
    /// Print which ports are open when, and the firewall lines for them
    Plan(HopPlanArgs),
    /// Make the key that both ends share, in a file that does not exist yet
    #[command(after_help = "Example:\n  hushwire hop key hop.key")]
    Key {
        /// The file to make, with mode 0600
        file: PathBuf,
    },
}

/// What both ends take.
#[derive(Debug, Args)]
pub(crate) struct HopCommonArgs {
    /// Configuration file; options given here come before what stands there
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File of the key that both ends share; without one the other end may be a plain program
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// End a flow when nothing passed in either direction for so many seconds [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle: Option<u64>,
    /// Most flows; one more, and the one that was idle for the longest ends [default: 4096]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) flows: Option<u32>,
    /// Send and receive each datagram by itself
    #[arg(long)]
    pub(crate) no_offload: bool,
    /// Drop datagrams above the path's MTU instead of cutting them into fragments
    #[arg(long)]
    pub(crate) no_fragments: bool,
    /// Log a line of counters every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) counters: Option<u64>,
    /// Where `hushwire hop status` may ask; for this user and root only
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Hosts and ports of a server are lists: 'hop.example,[2001:db8::/64]:1234,20000-50000'. Its hosts are one machine.
Several servers are tried in the order given.

Examples:
  hushwire hop client --listen 127.0.0.1:4433 --server hop.example:20000-50000 --key hop.key
  hushwire hop client -c hop-client.toml --counters 60")]
pub(crate) struct HopClientArgs {
    /// Where programs send to; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where the server is and which ports it has; may be repeated
    #[arg(long, value_name = "HOSTS:PORTS")]
    pub(crate) server: Vec<Endpoints>,
    /// Time between two hops of a flow, drawn anew for each [default: 20s..40s]
    #[arg(long, value_name = "TIME..TIME")]
    pub(crate) interval: Option<Interval>,
    /// Bytes between two hops of a flow, drawn anew for each [default: 64 MB..256 MB]
    #[arg(long, value_name = "SIZE..SIZE")]
    pub(crate) bytes: Option<String>,
    /// Take intervals below 5 s: for tests only, such hops are a pattern of their own
    #[arg(long, hide = true)]
    pub(crate) unsafe_interval: bool,
    #[command(flatten)]
    pub(crate) common: HopCommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hushwire hop server --ports 20000-50000 --to 127.0.0.1:443 --key hop.key
  hushwire hop server --listen 203.0.113.7 --ports 20000-20999 --to '[::1]:51820'")]
pub(crate) struct HopServerArgs {
    /// Address to listen on; may be repeated [default: all, IPv6 and IPv4]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<IpAddr>,
    /// The ports that are hopped over
    #[arg(long, value_name = "PORTS")]
    pub(crate) ports: Option<PortSet>,
    /// Where flows go; of several the first that does not refuse
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) to: Vec<Target>,
    #[command(flatten)]
    pub(crate) common: HopCommonArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hushwire hop status /run/hushwire-hop/client.socket
  hushwire hop status hop.socket --json")]
pub(crate) struct HopStatusArgs {
    /// What the client or server was given as --socket
    #[arg(value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hushwire hop plan --ports 20000-50000 --key hop.key
  hushwire hop plan --ports 20000-50000 --key hop.key --windows 120 --json")]
pub(crate) struct HopPlanArgs {
    /// The ports that are hopped over
    #[arg(long, value_name = "PORTS")]
    pub(crate) ports: PortSet,
    /// File of the key that both ends share
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Windows of 30 s to print, the present one first
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) windows: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
