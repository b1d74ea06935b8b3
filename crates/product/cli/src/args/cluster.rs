//! The command line of `hushwire cluster`.

mod node;
mod pipe;

pub(crate) use node::{
    ClusterDemoArgs, ClusterMemberArgs, ClusterNodeArgs, ClusterRunArgs, ClusterStatusArgs, MemberCommand,
};
pub(crate) use pipe::{ClusterFeedArgs, ClusterPubArgs, ClusterSubArgs};

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "docs/cluster.md says what a cluster promises and how to begin.")]
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
    /// Publish each line of standard input, exactly once
    Pub(ClusterPubArgs),
    /// Print the messages of topics, in the order of the cluster and without a gap
    Sub(ClusterSubArgs),
    /// Publish each line that programs write into a FIFO
    Feed(ClusterFeedArgs),
    /// Change who votes
    Member(ClusterMemberArgs),
    /// End the term: a checkpoint takes the place of what is in the log
    Checkpoint(ClusterNodeArgs),
}
