//! The command line of `hushwire circuit`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hushwire circuit list\n  hushwire circuit show 1\n  hushwire circuit list -c entry.toml --json"
)]
pub(crate) struct CircuitArgs {
    #[command(subcommand)]
    pub(crate) command: CircuitCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CircuitCommand {
    /// One line for each leg of each tunnel
    List(CircuitNode),
    /// All that is known of one leg
    Show(CircuitShow),
}

#[derive(Debug, Args)]
pub(crate) struct CircuitShow {
    /// The leg, by the first number of its line in `list`
    pub(crate) leg: usize,
    #[command(flatten)]
    pub(crate) node: CircuitNode,
}

/// Which entry.
#[derive(Debug, Args)]
pub(crate) struct CircuitNode {
    /// Configuration file of the entry, or of a node with one
    #[arg(short, long, value_name = "FILE", default_value = "entry.toml", conflicts_with = "socket")]
    pub(crate) config: PathBuf,
    /// Admin socket of the entry
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
