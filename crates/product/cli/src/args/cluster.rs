//! The command line of `hushwire cluster`.

mod node;

pub(crate) use node::{
    ClusterDemoArgs, ClusterMemberArgs, ClusterNodeArgs, ClusterRunArgs, ClusterStatusArgs, MemberCommand,
};

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    after_help = "docs/keys.md says how to make the certificates of a cluster; docs/spec/pipe.md what programs say to a node."
)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Run a node of a cluster
    Run(ClusterRunArgs),
    /// Run a whole cluster on this machine with fresh certificates, and show what it does
    Demo(ClusterDemoArgs),
    /// Show how a running node stands
    Status(ClusterStatusArgs),
    /// Change who votes
    Member(ClusterMemberArgs),
    /// End the term: a checkpoint takes the place of what is in the log
    Checkpoint(ClusterNodeArgs),
}
