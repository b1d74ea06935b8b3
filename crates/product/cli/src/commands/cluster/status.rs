//! `hushwire cluster status`, `member` and `checkpoint`: asking a node that runs.

use super::file::admin_socket;
use crate::args::cluster::{ClusterNodeArgs, ClusterStatusArgs, MemberCommand};
use crate::commands::status::{not_answered, runtime, to_json};
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use admin::cluster::{ClusterAnswer, ClusterRequest};
use std::path::PathBuf;

pub(crate) fn status(args: &ClusterStatusArgs) -> Outcome {
    let status = match ask(&args.node, ClusterRequest::Status)? {
        ClusterAnswer::Status { status } => *status,
        other => return Err(unexpected(&other)),
    };
    terminal::say(&if args.json { to_json(&status)? } else { admin::cluster::screen(&status) });
    Ok(())
}

pub(crate) fn member(command: MemberCommand) -> Outcome {
    match command {
        MemberCommand::Add { member, instead_of, node } => {
            order(&node, ClusterRequest::Change { add: Some(member), remove: instead_of })?;
            terminal::complain("Planned. It votes when it has caught up; `hushwire cluster status` shows it.\n");
        }
        MemberCommand::Remove { member, node } => {
            order(&node, ClusterRequest::Change { add: None, remove: Some(member) })?;
            terminal::complain("Planned. The next term, which begins at once, is without it.\n");
        }
        MemberCommand::Withdraw { node } => {
            order(&node, ClusterRequest::Withdraw)?;
            terminal::complain("Withdrawn.\n");
        }
    }
    Ok(())
}

pub(crate) fn checkpoint(args: &ClusterNodeArgs) -> Outcome {
    order(args, ClusterRequest::EndTerm)?;
    terminal::complain("The term has ended, and the next one begins with a checkpoint.\n");
    Ok(())
}

fn order(node: &ClusterNodeArgs, request: ClusterRequest) -> Outcome {
    match ask(node, request)? {
        ClusterAnswer::Done => Ok(()),
        ClusterAnswer::NotDone { reason } => Err(Failure::new(Code::Unavailable, format!("it was not done: {reason}"))
            .remedy("look at `hushwire cluster status`")),
        other @ ClusterAnswer::Status { .. } => Err(unexpected(&other)),
    }
}

fn ask(node: &ClusterNodeArgs, request: ClusterRequest) -> Result<ClusterAnswer, Failure> {
    let socket = socket(node)?;
    let asked = runtime()?.block_on(admin::client::cluster(&socket, request));
    asked.map_err(|error| {
        not_answered(&error).remedy("start the node with `hushwire cluster run FILE`, or look at its log")
    })
}

fn socket(node: &ClusterNodeArgs) -> Result<PathBuf, Failure> {
    match (&node.admin, &node.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(file)) => admin_socket(file),
        (None, None) => Err(Failure::new(Code::Usage, "no node is named").remedy("name it with -c FILE")),
    }
}

fn unexpected(answer: &ClusterAnswer) -> Failure {
    let what = match answer {
        ClusterAnswer::NotDone { reason } => reason.as_str(),
        _ => "the node answered something else",
    };
    Failure::new(Code::Unavailable, what).remedy("compare `hushwire version` with the node's")
}
