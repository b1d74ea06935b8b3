//! The command line of `hushwire cluster`.

mod pipe;

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
    /// Publish each line of standard input, exactly once
    Pub(ClusterPubArgs),
    /// Print the messages of topics, in the order of the cluster and without a gap
    Sub(ClusterSubArgs),
    /// Publish each line that programs write into a FIFO
    Feed(ClusterFeedArgs),
}
