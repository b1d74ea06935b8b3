//! The command lines of `hushwire network` and `hushwire relay`.

use clap::{Args, Subcommand, ValueEnum};
use identity::{NodeId, OperatorKey};
use network_document::Roles;
use port_hopping::ports::PortSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
The file is like the example in docs/relay.md. Ctrl-C stops the relay gently, a second one at once.

Example:
  hushwire relay relay.toml")]
pub(crate) struct RelayArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End when standard input ends, for programs that start a relay
    #[arg(long, hide = true)]
    pub(crate) leash: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
docs/relay.md says how a network comes about. In short, on an operator's machine:
  hushwire network operator alice.operator-key
  hushwire network new --name example --operator-key hwop1… --threshold 1 example.charter
on each relay:
  hushwire keys new relay.keys
  hushwire network describe --charter example.charter --keys relay.keys --onion-keys relay.onion-keys \\
    --interval 1 --address 192.0.2.1:4433 --role guard --role middle --operator alice --rate '20 Mbit/s' > relay.descriptor
and on the operator's machine again:
  hushwire network assemble --charter example.charter --interval 1 *.descriptor > network.document
  hushwire network sign --key alice.operator-key network.document
  hushwire network show network.document")]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    pub(crate) command: NetworkCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Make the key with which an operator signs, and print its public half
    Operator {
        /// The file to make, with mode 0600; keep it off all relays
        file: PathBuf,
    },
    /// Write a charter: what makes a network the one that it is
    New(Box<NewArgs>),
    /// On a relay, print its descriptor for one interval; makes the onion key if need be
    Describe(Box<DescribeArgs>),
    /// Put descriptors together, and print a document that nobody has signed yet
    Assemble(AssembleArgs),
    /// Add an operator's signature to a document
    Sign(SignArgs),
    /// Say what a document or charter holds, and whether it is good
    Show {
        /// The document or charter
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the network: a to z, digits, dots, hyphens
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Key of an operator; repeat it for several
    #[arg(long, value_name = "KEY", required = true)]
    pub(crate) operator_key: Vec<OperatorKey>,
    /// How many operators must sign a document
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) threshold: u8,
    /// Bytes of every packet
    #[arg(long, value_name = "BYTES", default_value_t = 1350, value_parser = clap::value_parser!(u32).range(1340..=1452))]
    pub(crate) packet_size: u32,
    #[command(flatten)]
    pub(crate) founding: FoundingArgs,
    /// The file to make
    pub(crate) file: PathBuf,
}

/// What makes a network one whose relays are agreed on by a directory.
#[derive(Debug, Args)]
pub(crate) struct FoundingArgs {
    /// Relays are agreed on by the members of a directory instead of in a document that operators sign
    #[arg(long, requires = "members")]
    pub(crate) directory: bool,
    /// Node id of a member of the directory; repeat it for each
    #[arg(long = "member", value_name = "NODE", requires = "directory")]
    pub(crate) members: Vec<NodeId>,
    /// How many members may lie; n members bear (n - 1) / 3 [default: as many]
    #[arg(long, value_name = "COUNT", requires = "directory")]
    pub(crate) liars: Option<u8>,
    /// When the first interval begins, in milliseconds since 1970 UTC [default: now]
    #[arg(long, value_name = "MS", requires = "directory")]
    pub(crate) start_ms: Option<u64>,
    /// How often there is an edition, 1s to 24h; it never changes [default: 10min]
    #[arg(long, value_name = "TIME", value_parser = crate::planning::options::time, requires = "directory")]
    pub(crate) interval: Option<Duration>,
    /// After so many intervals relays change their onion keys [default: 144]
    #[arg(long, value_name = "COUNT", requires = "directory")]
    pub(crate) key_intervals: Option<u64>,
    /// An edition is good for so many intervals [default: 18]
    #[arg(long, value_name = "COUNT", requires = "directory")]
    pub(crate) valid_intervals: Option<u64>,
    /// Ports that relays may hop to [default: 32768-60999]
    #[arg(long, value_name = "PORTS", requires = "directory")]
    pub(crate) network_ports: Option<PortSet>,
    /// Legs of a tunnel at most [default: 2]
    #[arg(long, value_name = "COUNT", requires = "directory")]
    pub(crate) legs: Option<u8>,
}

/// A place on circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Next to clients
    Guard,
    /// Between relays
    Middle,
    /// Last
    Exit,
    /// Last, for the directory's streams
    Directory,
}

impl RoleArg {
    /// All that are named.
    pub(crate) fn roles(named: &[Self]) -> Roles {
        let has = |role| named.contains(&role);
        let (guard, middle) = (has(Self::Guard), has(Self::Middle));
        Roles { guard, middle, exit: has(Self::Exit), directory: has(Self::Directory) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The network's charter
    #[arg(long, value_name = "FILE")]
    pub(crate) charter: PathBuf,
    /// The relay's keys
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: PathBuf,
    /// File of the relay's onion secrets; made if it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) onion_keys: PathBuf,
    /// Number of the interval
    #[arg(long, value_name = "NUMBER")]
    pub(crate) interval: u64,
    /// Where the relay is reached, the best one first; repeat it for several
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    pub(crate) address: Vec<SocketAddr>,
    /// Ports that links may hop to
    #[arg(long, value_name = "PORTS")]
    pub(crate) hop_ports: Option<PortSet>,
    /// Its place on circuits; repeat it for several
    #[arg(long, value_enum, required = true)]
    pub(crate) role: Vec<RoleArg>,
    /// Who runs it: no circuit uses two relays of one
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: String,
    /// What it forwards at most
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: String,
}

#[derive(Debug, Args)]
pub(crate) struct AssembleArgs {
    /// The network's charter
    #[arg(long, value_name = "FILE")]
    pub(crate) charter: PathBuf,
    /// Number of the interval, above that of the last document
    #[arg(long, value_name = "NUMBER")]
    pub(crate) interval: u64,
    /// Descriptors of all relays
    #[arg(required = true)]
    pub(crate) descriptors: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The operator's key file
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The document; the signature is added to it
    pub(crate) document: PathBuf,
}
