//! Options of `hushwire mirror`, `node`, `reload` and `drain`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
The file has a table for each part: [cluster], [mirror], [relay], [exit], [entry], with the keys of the role's own file. Each part
is a program of its own, and is started again if it ends. Other commands name a part as `node.toml#exit`.

SIGHUP or `hushwire reload` reads the file again and prints what that means for each part. SIGTERM, Ctrl-C or `hushwire
drain` end it gently, a second signal at once.

Example:
  hushwire check -c node.toml
  hushwire node node.toml")]
pub(crate) struct NodeRunArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The part `cluster` has no log yet: all members found a new cluster
    #[arg(long, conflicts_with = "join")]
    pub(crate) found: bool,
    /// The part `cluster` has no log yet: it comes into a cluster that runs
    #[arg(long)]
    pub(crate) join: bool,
    /// End when standard input ends, for programs that start a node
    #[arg(long, hide = true)]
    pub(crate) leash: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It fetches each interval's edition at a random moment, believes what enough members signed, and writes it to network_file,
from which relays, exits and entries take it while they run. docs/directory.md says how a network comes about.

Example:
  hushwire mirror mirror.toml")]
pub(crate) struct MirrorArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// End when standard input ends, for programs that start a mirror
    #[arg(long, hide = true)]
    pub(crate) leash: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What changed in the file decides: members of a cluster are taken over while it runs, a relay is drained and started again,
an entry or an exit is started again at once. What has not changed is left alone; it only looks at the files it names.
A file with a mistake changes nothing.

Example:
  hushwire reload --plan node.toml")]
pub(crate) struct ReloadArgs {
    /// Configuration file of the node
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Configuration file of the node
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
