//! Options of `hushwire invite` and `join`.

use crate::args::network::RoleArg;
use clap::Args;
use port_hopping::ports::PortSet;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
An invitation has the network's charter and one to four directory nodes with their keys: enough to learn the rest. Each directory
node makes one of its own; `--and` puts several together. For clients it may go to as many people as one likes.

With --relay it makes whoever holds it one relay, whose name is printed: the operators admit it with `hushwire directory admit`.

Examples:
  hushwire invite --charter example.charter --keys m1.keys --onion-keys m1.onion-keys --address 192.0.2.1:4433 m1.invitation
  hushwire invite --and m1.invitation --and m2.invitation --qr invitation
  hushwire invite --and invitation --relay alice.invitation")]
pub(crate) struct InviteArgs {
    /// The network's charter
    #[arg(long, value_name = "FILE", required_unless_present = "and", requires = "keys")]
    pub(crate) charter: Option<PathBuf>,
    /// Keys of this directory node
    #[arg(long, value_name = "FILE", requires_all = ["charter", "onion_keys", "address"])]
    pub(crate) keys: Option<PathBuf>,
    /// File of its onion secrets; the lasting one is made if it is not there
    #[arg(long, value_name = "FILE", requires = "keys")]
    pub(crate) onion_keys: Option<PathBuf>,
    /// Where it is reached, the best one first; repeat it for several
    #[arg(long, value_name = "ADDRESS:PORT", requires = "keys")]
    pub(crate) address: Vec<SocketAddr>,
    /// An invitation whose directory nodes are taken, too; repeat it for several
    #[arg(long = "and", value_name = "FILE")]
    pub(crate) and: Vec<PathBuf>,
    /// For one relay, whose key is made now
    #[arg(long)]
    pub(crate) relay: bool,
    /// Show it as a QR code, too
    #[arg(long)]
    pub(crate) qr: bool,
    /// The file to make
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Writes keys and a node's file into a folder; `hushwire node` runs it. What it is depends on the invitation: with one for a relay,
this machine is a relay or an exit; with any other, it is an entry, and applications use its proxy.

Examples:
  hushwire join hwjoin1… --dir home
  hushwire join alice.invitation --dir relay --operator alice --rate '20 Mbit/s' --address 192.0.2.7:4433
  hushwire node relay/node.toml")]
pub(crate) struct JoinArgs {
    /// The invitation, or a file with it
    #[arg(value_name = "INVITATION")]
    pub(crate) invitation: String,
    /// The folder to make
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: PathBuf,
    /// Relay: who runs it, as the operators admitted it
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// What a relay forwards at most, or both directions of an entry's tunnel
    #[arg(long, value_name = "RATE", default_value = "2 Mbit/s")]
    pub(crate) rate: String,
    /// Relay: where it is reached, the best one first; without it, this machine's address towards the directory, port 4433
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) address: Vec<SocketAddr>,
    /// Relay: its places on circuits; without it, guard and middle
    #[arg(long, value_enum)]
    pub(crate) role: Vec<RoleArg>,
    /// Exit: ports of servers that it reaches
    #[arg(long, value_name = "PORTS")]
    pub(crate) exit_ports: Option<PortSet>,
    /// Relay: ports that links may hop to
    #[arg(long, value_name = "PORTS")]
    pub(crate) hop_ports: Option<PortSet>,
    /// Entry: where applications connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1080")]
    pub(crate) proxy: SocketAddr,
    /// Entry: relays of each circuit, the exit among them
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) hops: u8,
    /// Entry: circuits that carry the tunnel together
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub(crate) legs: u8,
    /// No schedule: packets come and go with the traffic
    #[arg(long)]
    pub(crate) unshaped: bool,
    /// Do not ask a directory node what time it is, to warn of a wrong clock
    #[arg(long)]
    pub(crate) offline: bool,
}
