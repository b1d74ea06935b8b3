//! The command line of `hushwire cluster pub|sub|feed`.

use clap::Args;
use pipe_protocol::{DATA_BYTES_MAX, From, Name};
use std::path::PathBuf;

/// Where a node's pipe is unless its configuration says otherwise, seen from its folder.
const PIPE: &str = "cluster.pipe";

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct PipeArgs {
    /// The socket of the node's pipe, as `pipe` of its configuration says
    #[arg(long = "socket", value_name = "PATH", default_value = PIPE)]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A line is a message, without its end, of at most 1,000,000 bytes. When the node goes away the command connects again and
goes on: nothing is lost and nothing counts twice. It ends with 0 only if every line is on the disks of a majority.

With --session FILE this holds over the command's own end too: a line's place in the input is its number, so the same
command with the same input goes on where the cluster stands. The input may have become longer, but nothing else.

Examples:
  echo hello | hushwire cluster pub chat
  hushwire cluster pub orders --session orders.session < orders.txt")]
pub(crate) struct ClusterPubArgs {
    /// The topic
    #[arg(value_parser = name)]
    pub(crate) topic: Name,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    /// Keep the session in this file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) session: Option<PathBuf>,
    /// Give up when the node took nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) patience: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each message is printed once, with a line end behind it. When the node goes away the command connects again and goes on
behind the last message; if that is no longer kept it ends with 65 rather than leave something out.

Examples:
  hushwire cluster sub chat
  hushwire cluster sub orders --from 1200 --count 10 --json
  hushwire cluster sub --from tail")]
pub(crate) struct ClusterSubArgs {
    /// Topics, at most 64; none means all
    #[arg(value_name = "TOPIC", value_parser = name, num_args = 0..=pipe_protocol::NAMES_MAX)]
    pub(crate) topics: Vec<Name>,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    /// Where to begin: an offset, `oldest`, or `tail` for what comes from now on
    #[arg(long, value_name = "PLACE", default_value = "oldest", value_parser = place)]
    pub(crate) from: From,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print a JSON object for each message, with its offset, topic, number, origin and time
    #[arg(long)]
    pub(crate) json: bool,
    /// Give up when the node is away for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) patience: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For programs that can only write a file. The FIFO is made with mode 0600 and removed at the end; one that is there already
(`mkfifo -m 620`) is used as it is and stays. Writers wait while the cluster takes nothing. Lines of several writers at once
stay whole up to 4096 bytes; a line above 1,000,000 bytes is left out and reported.

A FIFO gives no answers: what was read from it counts once, but what is not acknowledged when this command is killed may
be lost. SIGTERM and Ctrl-C lose nothing: it takes what is in the FIFO, waits until it counts, and ends.

Example:
  hushwire cluster feed /run/app/log.fifo logs &
  echo started > /run/app/log.fifo")]
pub(crate) struct ClusterFeedArgs {
    /// The FIFO, made if it is not there
    #[arg(value_name = "FIFO")]
    pub(crate) fifo: PathBuf,
    /// The topic
    #[arg(value_parser = name)]
    pub(crate) topic: Name,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    /// Give up when the node took nothing for so long; until then writers wait
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) patience: u64,
}

// The help texts name it.
const _: () = assert!(DATA_BYTES_MAX == 1_000_000);

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

fn place(text: &str) -> Result<From, String> {
    match text {
        "oldest" => Ok(From::Oldest),
        "tail" => Ok(From::Tail),
        offset => offset.parse().map(From::Offset).map_err(|_| "neither an offset nor `oldest` nor `tail`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_names_are_checked() {
        assert_eq!(place("12"), Ok(From::Offset(12)));
        assert_eq!((place("oldest"), place("tail")), (Ok(From::Oldest), Ok(From::Tail)));
        assert!(place("-1").is_err() && place("newest").is_err());
        assert!(name("").is_err() && name("a\nb").is_err());
    }
}
