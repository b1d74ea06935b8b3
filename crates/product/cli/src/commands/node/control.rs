//! `hushwire reload`, `drain` and `status` of a node of several parts.

use crate::args::node::{DrainArgs, ReloadArgs};
use crate::commands::status::{not_answered, runtime, to_json};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use admin::client::AskError;
use admin::parts::{PartsAnswer, PartsRequest, PartsStatus};
use admin::protocol::{Request, Response};
use config::NodeFile;
use std::path::Path;

pub(crate) fn reload(args: &ReloadArgs) -> Outcome {
    // A mistake in the file is shown better here than by the node.
    let file = settings::loaded(config::load_node(&args.file))?;
    match ask(&file, PartsRequest::Reload { plan_only: args.plan })? {
        PartsAnswer::Plan { steps } if args.json => {
            terminal::say(&to_json(&steps)?);
        }
        PartsAnswer::Plan { steps } => terminal::say(&admin::parts::plan_screen(&steps)),
        PartsAnswer::Refused { reason } => {
            return Err(Failure::new(Code::Configuration, format!("the node does not take the file: {reason}"))
                .remedy(format!("correct it, then run `hushwire check -c {}`", args.file.display())));
        }
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

pub(crate) fn drain(args: &DrainArgs) -> Outcome {
    let file = settings::loaded(config::load_node(&args.file))?;
    let asked = runtime()?.block_on(admin::client::ask(&file.admin_socket, Request::Parts(PartsRequest::Drain)));
    match asked.map_err(|error| not_running(&error, &args.file))? {
        Response::Stopping => {
            terminal::complain("Its parts end gently.\n");
            Ok(())
        }
        other => Err(Failure::new(Code::Unavailable, format!("the node answered something else: {other:?}"))),
    }
}

/// How the parts of a node stand.
pub(crate) fn status(file: &NodeFile) -> Result<PartsStatus, Failure> {
    match ask(file, PartsRequest::Status)? {
        PartsAnswer::Status { status } => Ok(status),
        other => Err(unexpected(&other)),
    }
}

fn ask(file: &NodeFile, request: PartsRequest) -> Result<PartsAnswer, Failure> {
    let asked = runtime()?.block_on(admin::client::parts(&file.admin_socket, request));
    asked.map_err(|error| not_running(&error, Path::new("FILE")))
}

fn not_running(error: &AskError, file: &Path) -> Failure {
    not_answered(error).remedy(format!("start it with `hushwire node {}`, or look at its log", file.display()))
}

fn unexpected(answer: &PartsAnswer) -> Failure {
    Failure::new(Code::Unavailable, format!("the node answered something else: {answer:?}"))
        .remedy("compare `hushwire version` with the node's")
}
