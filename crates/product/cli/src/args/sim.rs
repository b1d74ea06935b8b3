//! The command line of `hushwire sim`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Nothing is sent: the traffic goes through the mechanisms themselves, slot by slot, on virtual time. Without --mode and
--config every mode is shown, each with settings that fit the traffic.

Examples:
  hushwire sim --clients 128
  hushwire sim --clients 16 --mode dp --epsilon 2 --plot pictures
  hushwire sim --trace office.csv
  hushwire sim --trace office.pcap --config entry.toml exit.toml --compare --json
  hushwire sim reaction --clients 16,64 --load 1.3,2

A CSV file has one transfer a line: seconds,client,direction,bytes, such as 12.5,alice,down,420000.")]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SimCommand>,
    #[command(flatten)]
    pub(crate) options: SimOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// How far one client moves what is measured of all when applications react to delays
    #[command(after_help = "\
Two worlds with the same users; in one of them a further client puts in the quota once. 1 is what the promise of mode dp
about one client and one epoch covers. With users who think after an answer it is more, and nothing is proven about it.

Examples:
  hushwire sim reaction
  hushwire sim reaction --clients 16,64,128 --load 1.1,1.3,2 --epochs 30,120")]
    Reaction(ReactionArgs),
    /// A day of a whole network: how its relays are used, what adversaries see, what documents cost
    #[command(after_help = "\
Nothing is sent. The directory, its members, clients and the choice of paths are those of a network; relays, failures and
traffic are made up, and nothing is smaller than a transfer. The default takes minutes. A month, for the guards that
clients use, is --hours 720 --clients 1000 --traffic 0.

Examples:
  hushwire sim network
  hushwire sim network --relays 100 --clients 1000 --hours 6
  hushwire sim network --hostile 2,5,10 --churn 3 --json")]
    Network(NetworkArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Number of relays
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(crate) relays: u32,
    /// Number of clients
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    pub(crate) clients: u32,
    /// Length of the run, from midnight
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub(crate) hours: u32,
    /// Members of the directory
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub(crate) members: u8,
    /// Replays the run
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Per cent of all bandwidth that adversaries have, each looked at for itself
    #[arg(long, value_name = "PER_CENT", value_delimiter = ',', default_value = "5,10,20")]
    pub(crate) hostile: Vec<f64>,
    /// How often relays and members fail: 0 is never, 1 as in the documentation
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) churn: f64,
    /// How much clients transfer: 0 is nothing, 1 as in the documentation
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) traffic: f64,
    /// Seconds after an edition is due in which clients ask for it
    #[arg(long, value_name = "SECONDS", default_value_t = 150)]
    pub(crate) spread: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimOptions {
    /// What clients do, where no recording is given
    #[arg(long, value_enum, default_value_t = TrafficArg::Video)]
    pub(crate) traffic: TrafficArg,
    /// Number of clients
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) clients: u32,
    /// Clients think after an answer has come, instead of asking whether or not it has
    #[arg(long)]
    pub(crate) closed_loop: bool,
    /// Replay a recording instead: CSV, or what `tcpdump -w` writes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["traffic", "clients", "closed_loop"])]
    pub(crate) trace: Option<PathBuf>,
    /// Length of the run; 300, or the whole recording
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(crate) seconds: Option<u64>,
    /// Replays the run: traffic and noise
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// One mode only
    #[arg(long, value_enum, conflicts_with = "config")]
    pub(crate) mode: Option<SimMode>,
    /// Take mode and settings from a node's configuration file, or from those of an entry and its exit
    #[arg(long, value_name = "FILE", num_args = 1..=2)]
    pub(crate) config: Vec<PathBuf>,
    /// Show every mode beside the one that is asked for
    #[arg(long)]
    pub(crate) compare: bool,
    /// Rate from clients, for mode constant
    #[arg(long, value_name = "RATE", conflicts_with = "config")]
    pub(crate) up: Option<String>,
    /// Rate to clients, for mode constant; without it the slowest with which 95 of 100 wait no longer than in mode dp
    #[arg(long, value_name = "RATE", conflicts_with = "config")]
    pub(crate) down: Option<String>,
    /// Loss of one client in one epoch (dp) or window (queue) of 5 s, in each direction
    #[arg(long, value_name = "EPSILON", default_value_t = 1.0, conflicts_with = "config")]
    pub(crate) epsilon: f64,
    /// Milliseconds between two decisions of queue and netshaper; without it 100, 500 and 1000
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(10..=5_000), conflicts_with = "config")]
    pub(crate) decision_ms: Option<u32>,
    /// Milliseconds from one node to the other
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub(crate) one_way_ms: u64,
    /// Write pictures (SVG) into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Generated traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrafficArg {
    /// A segment of about 420 kB every 5 s
    Video,
    /// A page of 54 to 147 kB every 10 s
    Web,
    /// An answer of 1.46 kB every second
    Small,
}

impl TrafficArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Web => "web",
            Self::Small => "small requests",
        }
    }
}

/// What can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimMode {
    /// No schedule
    Off,
    /// One rate
    Constant,
    /// One of four rates, chosen every five minutes
    Stepped,
    /// A rate that follows noisy counts
    Dp,
    /// NetShaper's mechanism in cells of a node
    Queue,
    /// NetShaper's mechanism as it was published, without packets; the direction to clients alone
    Netshaper,
}

#[derive(Debug, Args)]
pub(crate) struct ReactionArgs {
    /// Clients beside the one that is added
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "16")]
    pub(crate) clients: Vec<u32>,
    /// Bytes that leave for each byte that is asked for, above 1
    #[arg(long, value_name = "RATIO", value_delimiter = ',', default_value = "1.3")]
    pub(crate) load: Vec<f64>,
    /// Epochs of 5 s
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "120")]
    pub(crate) epochs: Vec<u32>,
    /// Runs of each
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) runs: u32,
    /// Replays them
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Delta: bytes that are added, and most of a client in an epoch
    #[arg(long, value_name = "BYTES", default_value = "2500 kB")]
    pub(crate) quota: String,
    /// Room of a client's ring
    #[arg(long, value_name = "BYTES", default_value = "256 KiB")]
    pub(crate) ring: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
