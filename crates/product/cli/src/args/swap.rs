//! `hushwire swap`.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
A connection is swapped when both its programs run under this command. Everything else stays as it is: TCP, datagrams,
peers without it, and programs that --check names. docs/swap.md says what is swapped and what is not.

Examples:
  hushwire swap -- redis-server --unixsocket /run/redis.sock
  hushwire swap --path '/run/redis*' --stats -- redis-benchmark -s /run/redis.sock
  hushwire swap --check /usr/bin/docker")]
pub(crate) struct SwapArgs {
    /// Swap only connections through sockets of this path; * stands for anything, @ begins an abstract name
    #[arg(long = "path", value_name = "PATTERN")]
    pub(crate) paths: Vec<String>,
    /// Swap only in processes whose program has this name; * stands for anything
    #[arg(long = "program", value_name = "NAME")]
    pub(crate) programs: Vec<String>,
    /// Print counts for each process when all have ended
    #[arg(long)]
    pub(crate) stats: bool,
    /// Say whether a program can be swapped, and run nothing
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["command", "stats", "paths", "programs"])]
    pub(crate) check: Option<PathBuf>,
    /// The program and its arguments, behind --
    #[arg(last = true, value_name = "PROGRAM", required_unless_present = "check")]
    pub(crate) command: Vec<OsString>,
}
