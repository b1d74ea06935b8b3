//! Orders of operators: made, and sent.

use super::ask::Asked;
use super::files::{charter, electorate, read_order, sign_order, words, write_order};
use crate::args::directory::{AdmitArgs, ExpelArgs, MembersArgs, OrderArgs, ParameterArgs, SubmitArgs};
use crate::args::network::RoleArg;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use network_document::{Charter, Label, Parameters};
use relay_directory::{Admission, CODE_TRY_AGAIN, Command, Order, Refusal, SignedOrder};
use std::path::PathBuf;

pub(super) fn admit(args: &AdmitArgs) -> Outcome {
    let operator =
        Label::new(&args.operator, "operator").map_err(|problem| Failure::new(Code::Data, problem.to_string()))?;
    let bandwidth = settings::rate(&args.rate)?;
    let roles = RoleArg::roles(&args.role);
    give(&args.order, Order::Admit { node: args.node, admission: Admission { roles, bandwidth, operator } }, &[])
}

pub(super) fn expel(args: &ExpelArgs) -> Outcome {
    give(&args.order, Order::Expel { node: args.node }, &[])
}

pub(super) fn parameter(args: &ParameterArgs) -> Outcome {
    let shown = args.file.display();
    let text = std::fs::read(&args.file).map_err(|error| Failure::io(format_args!("cannot read {shown}"), &error))?;
    let parameters = Parameters::parse(&text).map_err(|error| {
        Failure::new(Code::Data, format!("{shown}, {error}"))
            .remedy("copy the last five lines of the charter, and change them")
    })?;
    give(&args.order, Order::Parameter(Box::new(parameters)), &[])
}

pub(super) fn members(args: &MembersArgs) -> Outcome {
    let term = match args.term {
        Some(term) => term,
        None => Asked::connect(&args.order.socket)?.members()?.term + 1,
    };
    let electorate = electorate(term, &args.electorate.members, args.electorate.liars)?;
    give(&args.order, Order::Members(electorate), &args.member_key)
}

/// Makes an order, signs it, and sends it or leaves it in a file.
fn give(args: &OrderArgs, order: Order, member_keys: &[PathBuf]) -> Outcome {
    let charter = charter(&args.charter)?;
    let number = match args.number {
        Some(number) => number,
        None => Asked::connect(&args.socket)?.members()?.next_order,
    };
    let mut signed = SignedOrder::new(number, order);
    sign_order(&mut signed, &charter, &args.key, member_keys)?;
    match &args.order {
        Some(file) => {
            write_order(file, &signed, charter.network_id())?;
            terminal::complain(&format!("{}: {}. {}\n", file.display(), words(&signed), signatures(&signed, &charter)));
            Ok(())
        }
        None => {
            if let Err(refusal @ Refusal::TooFewOperators { .. }) = signed.verify(&charter) {
                return Err(Failure::new(Code::Data, refusal.to_string())
                    .remedy("write it into a file with --order FILE, and let others `hushwire directory sign` it"));
            }
            send(&mut Asked::connect(&args.socket)?, signed)
        }
    }
}

fn signatures(order: &SignedOrder, charter: &Charter) -> String {
    let (found, needed) = (order.operators().len(), charter.threshold());
    format!("{found} of the {needed} operators' signatures that it needs")
}

pub(super) fn submit_file(args: &SubmitArgs) -> Outcome {
    let (_, order) = read_order(&args.file)?;
    send(&mut Asked::connect(&args.socket)?, order)
}

fn send(asked: &mut Asked, order: SignedOrder) -> Outcome {
    let said = words(&order);
    let outcome = asked.submit(Command::Govern(Box::new(order)).encode())?;
    match outcome.code {
        0 => {
            terminal::complain(&format!("Done: {said}.\n"));
            Ok(())
        }
        CODE_TRY_AGAIN => Err(Failure::new(Code::Unavailable, outcome.sentence).remedy(
            "`hushwire directory status` says which members are missing; the order may be sent again as it is",
        )),
        _ => Err(Failure::new(Code::Data, format!("the directory refuses: {}", outcome.sentence))
            .remedy("`hushwire directory status --json` has the number of the next order")),
    }
}
