//! Running nodes, and asking them.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
The file is a TOML file (docs/config.md), or a JSON file of the original program, which is taken as it is; log, pipe and
admin socket of that one stand beside it, under its name with -log, .pipe and .admin.

A node that has no log yet has to be told what it is: --found on every member of a new cluster, once; --join on a node that
is new in a cluster that runs, which `hushwire cluster member add` lets vote. Never --found a node again that lost its log:
take it out and let it join, for it has made promises that it no longer knows of.

The list of members, `revoked_file` and certificates are read anew when they change, within ten seconds, or at once on
SIGHUP. It ends on SIGTERM or Ctrl-C.

Examples:
  hushwire cluster run node.toml --found
  hushwire cluster run node.toml")]
pub(crate) struct ClusterRunArgs {
    /// The node's configuration file
    pub(crate) file: PathBuf,
    /// The node has no log: found the cluster with the members of the file
    #[arg(long, conflicts_with = "join")]
    pub(crate) found: bool,
    /// The node has no log: wait until the members of a cluster that runs add it
    #[arg(long)]
    pub(crate) join: bool,
    /// End when standard input ends, for programs that start a node
    #[arg(long, hide = true)]
    pub(crate) leash: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every node is a process of its own, with its own keys, certificate, log, pipe and folder. One that ends is started again
after a second, so kill some. It ends at the end of its input (Ctrl-D), at Ctrl-C, or after --for.

Examples:
  hushwire cluster demo
  hushwire cluster demo --nodes 5 --keep /tmp/five --for 60")]
pub(crate) struct ClusterDemoArgs {
    /// How many nodes
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=15))]
    pub(crate) nodes: u8,
    /// Put everything into this folder and leave it there; one that was kept goes on
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// End after so many seconds instead of at the end of input
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
}

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct ClusterNodeArgs {
    /// Configuration file of the node
    #[arg(short, long, value_name = "FILE", required_unless_present = "admin", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
    /// Or its admin socket
    #[arg(long, value_name = "PATH")]
    pub(crate) admin: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire cluster status -c node.toml --json")]
pub(crate) struct ClusterStatusArgs {
    #[command(flatten)]
    pub(crate) node: ClusterNodeArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Members are named by node id or by the name in their certificate. Before one is added, its [[members]] table has to be in every
member's file, and it has to run with --join. It votes when it has caught up; until then the change is a plan. When one is
removed, stop it once `hushwire cluster status` shows the new members everywhere, then take its table out of the files.

Examples:
  hushwire cluster member add n4.cluster.example -c node.toml
  hushwire cluster member add n4.cluster.example --instead-of n2.cluster.example -c node.toml
  hushwire cluster member remove n2.cluster.example -c node.toml")]
pub(crate) struct ClusterMemberArgs {
    #[command(subcommand)]
    pub(crate) command: MemberCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Let a node vote, when it has caught up
    Add {
        /// Node id or name
        member: String,
        /// Take this one's vote at the same time
        #[arg(long, value_name = "MEMBER")]
        instead_of: Option<String>,
        #[command(flatten)]
        node: ClusterNodeArgs,
    },
    /// Take a node's vote
    Remove {
        /// Node id or name
        member: String,
        #[command(flatten)]
        node: ClusterNodeArgs,
    },
    /// Withdraw a plan that has not come true
    Withdraw {
        #[command(flatten)]
        node: ClusterNodeArgs,
    },
}
