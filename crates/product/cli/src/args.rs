//! The command line, defined once: help, completions and man pages come from here.

pub(crate) mod circuit;
pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod hop;
pub(crate) mod join;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod pki;
pub(crate) mod service;

use crate::planning::options;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

mod sim;
pub(crate) mod swap;

pub(crate) use sim::{
    NetworkArgs as SimNetworkArgs, ReactionArgs, SimArgs, SimCommand, SimMode, SimOptions, TrafficArg,
};

/// Carries TCP and UDP flows in packets of one size at a public rate, so that who watches the link learns nothing.
#[derive(Debug, Parser)]
#[command(name = "hushwire", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CommandLine {
    /// Show every cause of an error
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  hushwire demo                                   a whole network on this machine, with a page to fetch
  hushwire plan --clients 16                      which mode, what it costs, what it tells
  hushwire init --role exit --rate '10 Mbit/s'    on the server
  hushwire init --role entry --peer 'hushwire:…'  at home, with the line that the exit printed
  hushwire entry -c entry.toml

Exit codes: 0 done, 64 usage, 65 bad data, 66 no such file, 69 node not running, 70 defect,
71 system, 73 file exists, 74 input or output, 77 permission, 78 configuration (sysexits.h).";

/// Groups of the overview. A command that is in none is hidden.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Try it", &["demo", "bench", "verify", "sim"]),
    ("Set up", &["plan", "init", "keys", "pki", "network", "invite", "join", "ledger", "check"]),
    (
        "Run",
        &[
            "entry",
            "exit",
            "relay",
            "mirror",
            "node",
            "reload",
            "drain",
            "status",
            "circuit",
            "peers",
            "service",
            "cluster",
            "directory",
        ],
    ),
    ("Alone", &["hop", "swap"]),
    ("More", &["version", "completions", "man"]),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole network on this machine with a page to fetch, and show what each part of it does
    Demo(DemoArgs),
    /// Measure a pair on this machine: throughput, delay, processor time, memory
    Bench(BenchArgs),
    /// Judge what an observer of a link can see, from recordings of it
    Verify(VerifyArgs),
    /// Compute what privacy, bandwidth and latency cost each other, and which mode to take
    Plan(Box<PlanArgs>),
    /// Simulate what each mode costs and tells, on generated traffic or a recording
    Sim(SimArgs),
    /// Write a configuration and keys, and print the line that the other node needs
    Init(InitArgs),
    /// Make or show a node's keys
    Keys(KeysArgs),
    /// Certificates of a cluster: its root, and its nodes' ones
    Pki(pki::PkiArgs),
    /// The document of a network of relays: who is in it, and who signs for that
    Network(network::NetworkArgs),
    /// Make an invitation into a network that has a directory
    Invite(join::InviteArgs),
    /// Write the files of a node of a network, from an invitation
    Join(Box<join::JoinArgs>),
    /// Make or show the ledger of what an entry's rate has told
    Ledger(LedgerArgs),
    /// Say what is wrong with a configuration file, or what it will cost
    Check(CheckArgs),
    /// Run an entry: applications connect here
    Entry(NodeArgs),
    /// Run an exit: flows leave for their servers from here
    Exit(NodeArgs),
    /// Run a relay: it forwards cells of circuits between its neighbours
    Relay(network::RelayArgs),
    /// Keep a network's newest document on this machine, and announce this machine's relay
    Mirror(node::MirrorArgs),
    /// Run several roles as one node, from one file
    Node(node::NodeRunArgs),
    /// Have a node of several roles read its file again, and say what that changes
    Reload(node::ReloadArgs),
    /// End a node of several roles gently
    Drain(node::DrainArgs),
    /// Show what a running node does
    Status(StatusArgs),
    /// Show the legs of an entry's tunnel over circuits
    Circuit(circuit::CircuitArgs),
    /// Show the neighbours of a running node: who is at the other ends of its links
    Peers(PeersArgs),
    /// Servers of this machine under addresses that end in .hush, without anyone learning where they are
    Service(Box<service::ServiceArgs>),
    /// A replicated log: what local programs say, in one order on every node
    Cluster(cluster::ClusterArgs),
    /// Which relays a network has, agreed on by members: ask one, and decide as an operator
    Directory(Box<directory::DirectoryArgs>),
    /// Carry any UDP program over ports that change, without a node
    Hop(hop::HopArgs),
    /// Run a program whose unix sockets go through shared memory where the other side does too
    Swap(swap::SwapArgs),
    /// Print the version
    Version(VersionArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the man page, or write all of them to a folder
    Man(ManArgs),
    /// One process of a node; started by its supervisor only
    #[command(hide = true)]
    Process(ProcessArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --pair and --relays: 3 members of a directory, 6 relays, an exit and an entry, each a node of its own, made by the commands
that make a real network. It prints what to try: what to fetch, what to ask, and whom to kill.

Examples:
  hushwire demo
  hushwire demo --keep net
  hushwire demo --pair --rate '50 Mbit/s' --for 60
  hushwire demo --pair --mode off
  hushwire demo --relays 6 --legs 2 --rate '4 Mbit/s'")]
pub(crate) struct DemoArgs {
    /// End after so many seconds instead of at Ctrl-C; they begin when everything is there
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// Whether a schedule hides the traffic
    #[arg(long, value_enum, default_value_t = ModeArg::Constant)]
    pub(crate) mode: ModeArg,
    /// Rate in each direction [default: 4 Mbit/s, with --pair or --relays 10 Mbit/s]
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<String>,
    /// Port of the proxy on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Only an entry and an exit, with nothing between them
    #[arg(long, conflicts_with_all = ["relays", "keep"])]
    pub(crate) pair: bool,
    /// No directory: a network of so many relays that stand in a document, the exit among them
    #[arg(long, value_name = "COUNT")]
    pub(crate) relays: Option<usize>,
    /// Circuits that carry one tunnel together
    #[arg(long, value_name = "COUNT", default_value_t = 2, requires = "relays")]
    pub(crate) legs: u8,
    /// Relays of each circuit, the exit among them
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "relays")]
    pub(crate) hops: u8,
    /// Leave all files in this folder, which is made, and say how to run the parts by hand
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hushwire bench\n  hushwire bench --mode constant --rate '10 Mbit/s' --json")]
pub(crate) struct BenchArgs {
    /// Whether a schedule hides the traffic
    #[arg(long, value_enum, default_value_t = ModeArg::Off)]
    pub(crate) mode: ModeArg,
    /// Rate in each direction, for mode constant
    #[arg(long, value_name = "RATE", default_value = "10 Mbit/s")]
    pub(crate) rate: String,
    /// Length of a slot in milliseconds, for mode constant
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) slot_ms: u32,
    /// Seconds of each bulk measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Round trips of the delay measurement
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) echoes: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Record some seconds while nothing is sent and some while much is, in turns, with any program that writes pcap files:
  tcpdump -i eth0 -w idle1.pcap udp port 4433

Examples:
  hushwire verify --port 4433 --idle idle1.pcap idle2.pcap --loaded loaded1.pcap loaded2.pcap
  hushwire verify --port 4433 --idle idle.pcap --loaded loaded.pcap --phase 3 --offload --json

It ends with 0 if nothing tells the two apart, and with 65 if something does or the recordings are too short to say.")]
pub(crate) struct VerifyArgs {
    /// The exit's UDP port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: u16,
    /// Recordings of the link while applications were silent
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) idle: Vec<PathBuf>,
    /// Recordings of the link while they were not
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) loaded: Vec<PathBuf>,
    /// Cut each recording into phases of so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) phase: Option<u64>,
    /// Bytes of every packet
    #[arg(long, value_name = "BYTES", default_value_t = 1350, value_parser = clap::value_parser!(u32).range(1340..=1452))]
    pub(crate) packet_size: u32,
    /// Length of a slot in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) slot_ms: u32,
    /// Let every difference decide, also one far below what a busy machine causes by itself
    #[arg(long)]
    pub(crate) strict: bool,
    /// The recordings were made on a node, whose network card cuts packets apart only later
    #[arg(long)]
    pub(crate) offload: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Give epsilon (1 where nothing is given), a budget, or a latency; the rest is computed and simulated with generated
traffic, which takes some seconds. docs/planning.md says how to read each figure.

Examples:
  hushwire plan --clients 1
  hushwire plan --clients 16 --traffic video --delta-down 2.5MB --delta-up 256KB --epoch 5s --epsilon 1 --delta 1e-6
  hushwire plan --clients 64 --traffic web --latency 500ms
  hushwire plan --clients 16 --budget 8TB --busy-hours 10 --json
  hushwire plan --clients 16 --config entry.toml --config exit.toml")]
pub(crate) struct PlanArgs {
    /// Clients that share the entry
    #[arg(long, value_name = "COUNT")]
    pub(crate) clients: u32,
    /// What they do
    #[arg(long, value_enum, default_value_t = PlanTraffic::Video)]
    pub(crate) traffic: PlanTraffic,
    /// What one release of one direction may tell of a client: 1 is strong for one epoch
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) epsilon: Option<f64>,
    /// Wire bytes of both directions in 30 days, or a rate whose class costs as much: the smallest epsilon that they pay for
    #[arg(long, value_name = "SIZE", value_parser = options::budget, conflicts_with_all = ["epsilon", "latency"])]
    pub(crate) budget: Option<u64>,
    /// From a request to the end of its answer, at most: the smallest margin that keeps it
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    pub(crate) latency: Option<Duration>,
    /// Which latency is meant
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = StatisticArg::P95)]
    pub(crate) latency_of: StatisticArg,
    /// The probability that goes with epsilon [default: 1e-6]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) delta: Option<f64>,
    /// Delta down: bytes of a client in an epoch that a release hides, and its quota [default: 2.5MB, web 300KB]
    #[arg(long, value_name = "SIZE", value_parser = options::size)]
    pub(crate) delta_down: Option<u64>,
    /// Delta up [default: 256KB, web 25KB]
    #[arg(long, value_name = "SIZE", value_parser = options::size)]
    pub(crate) delta_up: Option<u64>,
    /// Instead of Delta down: how fast a client may be over an epoch
    #[arg(long, value_name = "SPEED", value_parser = options::speed, conflicts_with = "delta_down")]
    pub(crate) speed_down: Option<u64>,
    /// Instead of Delta up
    #[arg(long, value_name = "SPEED", value_parser = options::speed, conflicts_with = "delta_up")]
    pub(crate) speed_up: Option<u64>,
    /// Length of an epoch, a multiple of 5s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = options::time)]
    pub(crate) epoch: Option<Duration>,
    /// Hours of a day in which the traffic is there
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub(crate) busy_hours: u32,
    /// From one node to the other and back
    #[arg(long, value_name = "TIME", value_parser = options::time, default_value = "0ms")]
    pub(crate) round_trip: Duration,
    /// Length of a slot in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) slot_ms: u32,
    /// Replays the simulations
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Plan for what a file in mode dp says; give those of both nodes for both directions
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with_all = ["epsilon", "budget", "latency", "delta", "delta_down", "delta_up", "speed_down", "speed_up", "epoch"]
    )]
    pub(crate) config: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Asks for what is not given, if it runs on a terminal. Nothing is ever overwritten.

Examples:
  hushwire init
  hushwire init --role exit --rate '10 Mbit/s' --public-address exit.example:4433 --dir /etc/hushwire
  hushwire init --role entry --rate '2 Mbit/s' --peer 'hushwire:…@exit.example:4433'")]
pub(crate) struct InitArgs {
    /// What the node is
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleArg>,
    /// Rate in each direction (entry), or the fastest that an entry may ask for (exit)
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<String>,
    /// The line of the other node; an exit takes several
    #[arg(long, value_name = "LINE")]
    pub(crate) peer: Vec<String>,
    /// Where entries reach this exit from outside
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) public_address: Option<String>,
    /// Where applications connect to this entry
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1080")]
    pub(crate) proxy: String,
    /// Folder for the files
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make new keys in a file that does not exist yet
    #[command(after_help = "Example:\n  hushwire keys new entry.keys")]
    New {
        /// The file to make, with mode 0600
        file: PathBuf,
    },
    /// Print the line that the other node needs
    #[command(
        after_help = "Examples:\n  hushwire keys show -c exit.toml\n  hushwire keys show exit.keys --address exit.example:4433"
    )]
    Show {
        /// The key file; or give the configuration with -c
        #[arg(required_unless_present = "config", conflicts_with = "config")]
        file: Option<PathBuf>,
        /// Configuration file of the node
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where the node is reached, if the configuration does not say it
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    pub(crate) command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Make the ledger of an entry that has never released anything
    #[command(after_help = "Example:\n  hushwire ledger new -c entry.toml")]
    New {
        /// Configuration file of the entry
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show what is spent, and what may be
    #[command(
        after_help = "Examples:\n  hushwire ledger show -c entry.toml\n  hushwire ledger show -c node.toml --json"
    )]
    Show {
        /// Configuration file of the entry, or of a node with one
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire check -c entry.toml && systemctl restart hushwire-entry")]
pub(crate) struct CheckArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Runs in the foreground, logs to stderr, tells systemd when it is ready, and ends cleanly on SIGTERM or Ctrl-C.
HUSHWIRE_LOG overrides the file's log level, such as HUSHWIRE_LOG=debug.")]
pub(crate) struct NodeArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End when standard input ends, for programs that start a node
    #[arg(long, hide = true)]
    pub(crate) leash: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without -c and --socket: the node whose node.toml is in this folder, or every one whose entry.toml, exit.toml or service.toml is; else
those in /etc/hushwire. Of a node of several parts the JSON is one object with all of them: docs/operations.md.

Examples:
  hushwire status
  hushwire status -c /etc/hushwire/entry.toml --json")]
pub(crate) struct StatusArgs {
    /// Configuration file of the node
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    pub(crate) config: Option<PathBuf>,
    /// Admin socket of the node
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON: an array with one object for each entry and exit, or one object for the file of anything else
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Of each neighbour: which part of the node has the link, the state of that, its round trip, its loss, its hops. Clients are counted
and not named, and what goes over a link, or on to whom, is not shown.

Examples:
  hushwire peers -c node.toml
  hushwire peers -c node.toml#relay --json")]
pub(crate) struct PeersArgs {
    /// Configuration file of the node, or of a role
    #[arg(short, long, value_name = "FILE", default_value = "node.toml")]
    pub(crate) config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire completions bash > /etc/bash_completion.d/hushwire")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Folder for one page per command
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Role of the process
    pub(crate) role: String,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Applications connect here
    Entry,
    /// Flows leave for their servers from here
    Exit,
}

impl RoleArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Exit => "exit",
        }
    }
}

/// Generated traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanTraffic {
    /// Players of DASH video, a segment every 5 s
    Video,
    /// Readers of web pages, one in 10 s on average
    Web,
}

/// What of a latency is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatisticArg {
    /// The mean
    Mean,
    /// 95 of 100 are faster
    P95,
}

/// Shaping mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// One rate, whatever is sent
    Constant,
    /// Nothing is hidden but the size of packets
    Off,
}

impl ModeArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Off => "off",
        }
    }
}

/// The whole command with its grouped overview.
pub(crate) fn command() -> clap::Command {
    let command = CommandLine::command();
    let mut overview = String::new();
    for (group, names) in GROUPS {
        let _ = writeln!(overview, "{group}:");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let _ = writeln!(overview, "  {name:<13}{}", about.map(ToString::to_string).unwrap_or_default());
        }
        overview.push('\n');
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{overview}Options:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_visible_command_is_in_one_group() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = command();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let visible: BTreeSet<&str> = visible.map(clap::Command::get_name).collect();
        assert_eq!(grouped.len(), visible.len());
        assert_eq!(grouped.into_iter().collect::<BTreeSet<_>>(), visible);
    }
}
