//! `hushwire directory`: asking a member, and what operators decide.

mod ask;
mod editions;
mod files;
mod orders;
mod place;
mod standing;

use crate::args::directory::DirectoryCommand;
use crate::failure::Outcome;

pub(crate) use ask::hex;
pub(crate) use files::electorate;
pub(crate) use standing::of_member;

pub(crate) fn run(command: DirectoryCommand) -> Outcome {
    match command {
        DirectoryCommand::Status(args) => standing::status(&args),
        DirectoryCommand::Show(args) => editions::show(&args),
        DirectoryCommand::Log(args) => editions::log(&args),
        DirectoryCommand::Admit(args) => orders::admit(&args),
        DirectoryCommand::Expel(args) => orders::expel(&args),
        DirectoryCommand::Parameter(args) => orders::parameter(&args),
        DirectoryCommand::Members(args) => orders::members(&args),
        DirectoryCommand::Sign(args) => files::sign(&args),
        DirectoryCommand::Submit(args) => orders::submit_file(&args),
        DirectoryCommand::Term(args) => files::term(&args),
    }
}
