//! `hushwire cluster pub|sub|feed`.

use crate::args::cluster::ClusterCommand;
use crate::failure::Outcome;

mod feed;
mod lines;
mod link;
mod place;
mod publish;
mod publisher;
mod session;
mod subscribe;
mod window;

pub(crate) fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Pub(args) => publish::run(&args),
        ClusterCommand::Sub(args) => subscribe::run(&args),
        ClusterCommand::Feed(args) => feed::run(&args),
    }
}
