//! The command line of `hushwire directory`.

use super::network::RoleArg;
use clap::{Args, Subcommand};
use identity::NodeId;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
docs/directory.md says how a directory is made and run, and what to do when something fails.

Operators decide with orders. With one operator:
  hushwire directory admit hwn1… --role guard --role middle --operator alice --rate '20 Mbit/s' \\
    --charter network.charter --key alice.operator-key
With several, who hand each other a file:
  hushwire directory expel hwn1… --charter network.charter --key alice.operator-key --order expel.order
  hushwire directory sign expel.order --charter network.charter --key bob.operator-key
  hushwire directory submit expel.order")]
pub(crate) struct DirectoryArgs {
    #[command(subcommand)]
    pub(crate) command: DirectoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Show how the directory and its members stand
    Status(StandingArgs),
    /// Print the newest edition: parameters, relays, who signed
    Show(StandingArgs),
    /// List the newest editions
    Log(LogArgs),
    /// Let a relay in, or change what it may claim
    Admit(AdmitArgs),
    /// Put a relay out
    Expel(ExpelArgs),
    /// Change how everybody behaves
    Parameter(ParameterArgs),
    /// Change who the members are
    Members(MembersArgs),
    /// Add signatures to an order or a term
    Sign(SignOrderArgs),
    /// Send an order that enough operators have signed
    Submit(SubmitArgs),
    /// Begin a term outside the log, when the log cannot go on
    Term(TermArgs),
}

/// Which member.
#[derive(Debug, Args)]
pub(crate) struct SocketArgs {
    /// The socket of a member's service, as `socket` of its configuration says [default: directory.socket]
    #[arg(long = "socket", value_name = "PATH", conflicts_with = "config")]
    pub(crate) path: Option<PathBuf>,
    /// Or the configuration file of the node
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StandingArgs {
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    /// How many editions at most
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=24))]
    pub(crate) count: u8,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How an order comes about.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// The network's charter
    #[arg(long, value_name = "FILE")]
    pub(crate) charter: PathBuf,
    /// Key file of an operator who signs; repeat it for several
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Write the order into this file for other operators, and send nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) order: Option<PathBuf>,
    /// The order's number, where no member can be asked: one more than the last order's
    #[arg(long, value_name = "NUMBER")]
    pub(crate) number: Option<u64>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hushwire directory admit hwn1… --role guard --role middle --operator alice --rate '20 Mbit/s' --charter network.charter --key alice.operator-key"
)]
pub(crate) struct AdmitArgs {
    /// The relay's node id
    pub(crate) node: NodeId,
    /// A place on circuits that it may have; repeat it for several
    #[arg(long, value_enum, required = true)]
    pub(crate) role: Vec<RoleArg>,
    /// Who runs it: no circuit uses two relays of one
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: String,
    /// The fastest that it may claim to be
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: String,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire directory expel hwn1… --charter network.charter --key alice.operator-key")]
pub(crate) struct ExpelArgs {
    /// The relay's node id
    pub(crate) node: NodeId,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file has the five lines from rate-classes to legs, as they stand at the end of a charter. They take effect with the next edition.

Example:
  hushwire directory parameter parameters --charter network.charter --key alice.operator-key")]
pub(crate) struct ParameterArgs {
    /// The new parameters
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// Who the members are to be.
#[derive(Debug, Args)]
pub(crate) struct ElectorateArgs {
    /// Node id of a member, of those that stay too; repeat it for each
    #[arg(long = "member", value_name = "NODE", required = true)]
    pub(crate) members: Vec<NodeId>,
    /// How many of them may lie [default: as many as so many members bear]
    #[arg(long, value_name = "COUNT")]
    pub(crate) liars: Option<u8>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Beside the operators, as many of the present members must sign as sign editions. A new member's node must be let into the
cluster first: `hushwire cluster member add`.

Example, the order with its first signatures:
  hushwire directory members --member hwn1… --member hwn1… --member hwn1… --member hwn1… --charter network.charter \\
    --key alice.operator-key --order members.order
On members, until enough have signed:
  hushwire directory sign members.order --charter network.charter --member-key node.keys")]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) electorate: ElectorateArgs,
    /// Number of the members' term, where no member can be asked: one more than the present one's
    #[arg(long, value_name = "NUMBER")]
    pub(crate) term: Option<u64>,
    /// Key file of a present member who agrees; repeat it for several
    #[arg(long, value_name = "FILE")]
    pub(crate) member_key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It says what is signed. Nothing is sent.

Example:
  hushwire directory sign expel.order --charter network.charter --key bob.operator-key")]
pub(crate) struct SignOrderArgs {
    /// The order, or the term; signatures are added to it
    pub(crate) file: PathBuf,
    /// The network's charter
    #[arg(long, value_name = "FILE")]
    pub(crate) charter: PathBuf,
    /// Key file of an operator; repeat it for several
    #[arg(long, value_name = "FILE", required_unless_present = "member_key")]
    pub(crate) key: Vec<PathBuf>,
    /// Key file of a present member who agrees with a change of members; repeat it for several
    #[arg(long, value_name = "FILE")]
    pub(crate) member_key: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire directory submit expel.order --socket /run/hushwire/directory.socket")]
pub(crate) struct SubmitArgs {
    /// The order
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For when a member that lies leads the log and stalls it, or too few live. docs/directory.md says what to do on each member.

Example:
  hushwire directory term term --charter network.charter --state directory/directory.state --term 7 \\
    --member hwn1… --member hwn1… --member hwn1… --key alice.operator-key")]
pub(crate) struct TermArgs {
    /// The file to make
    pub(crate) file: PathBuf,
    /// The network's charter
    #[arg(long, value_name = "FILE")]
    pub(crate) charter: PathBuf,
    /// The state that it begins with: the one of the member that is farthest
    #[arg(long, value_name = "FILE")]
    pub(crate) state: PathBuf,
    /// Its number: above every one that anybody has seen
    #[arg(long, value_name = "NUMBER")]
    pub(crate) term: u64,
    #[command(flatten)]
    pub(crate) electorate: ElectorateArgs,
    /// Key file of an operator who signs; repeat it for several
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
}
