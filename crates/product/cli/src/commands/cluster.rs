//! `hushwire cluster`: nodes, what asks them, and programs at their pipe.

mod check;
mod control;
mod demo;
mod feed;
mod file;
mod lines;
mod link;
mod member;
mod place;
mod publish;
mod publisher;
mod refresh;
mod run;
mod session;
mod status;
mod subscribe;
mod window;

use crate::args::cluster::ClusterCommand;
use crate::failure::Outcome;

pub(super) use check::{check, is_file_of_node};

pub(crate) fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Run(args) => run::run(&args),
        ClusterCommand::Demo(args) => demo::run(&args),
        ClusterCommand::Status(args) => status::status(&args),
        ClusterCommand::Member(args) => status::member(args.command),
        ClusterCommand::Checkpoint(args) => status::checkpoint(&args),
        ClusterCommand::Pub(args) => publish::run(&args),
        ClusterCommand::Sub(args) => subscribe::run(&args),
        ClusterCommand::Feed(args) => feed::run(&args),
    }
}
