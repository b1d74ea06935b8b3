//! `hushwire cluster run|demo|status|member|checkpoint`.

mod control;
mod demo;
mod file;
mod refresh;
mod run;
mod status;

use crate::args::cluster::ClusterCommand;
use crate::failure::Outcome;

pub(crate) fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Run(args) => run::run(&args),
        ClusterCommand::Demo(args) => demo::run(&args),
        ClusterCommand::Status(args) => status::status(&args),
        ClusterCommand::Member(args) => status::member(args.command),
        ClusterCommand::Checkpoint(args) => status::checkpoint(&args),
    }
}
