//! Files of orders and terms, and who signs them.

use crate::args::directory::{SignOrderArgs, TermArgs};
use crate::commands::network::{operator_secret, read_charter, replace_file};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use identity::NodeId;
use network_document::{Charter, Electorate, NetworkId, Problem, TermFile};
use relay_directory::{COMMAND_BYTES_MAX, Directory, Order, SignedOrder};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a state's file at most: a directory with all relays, and the records of all members' services.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a term's file at most.
const TERM_BYTES_MAX: u64 = 16 << 10;
/// What a term's file begins with.
const TERM: &[u8] = b"hushwire-term";

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let taken = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    taken.map_err(|error| Failure::io(format_args!("cannot read {}", path.display()), &error))?;
    if bytes.len() as u64 > most {
        return Err(Failure::new(Code::Data, format!("{} has more than {most} bytes", path.display())));
    }
    Ok(bytes)
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Data, format!("{}: {error}", path.display()))
}

/// A charter with a directory.
pub(super) fn charter(path: &Path) -> Result<Charter, Failure> {
    let charter = read_charter(path)?;
    if charter.founding().is_none() {
        return Err(wrong(path, "the network has no directory")
            .remedy("name the charter that `hushwire network new --directory` made"));
    }
    Ok(charter)
}

/// Members, of whom as many may lie as so many bear if nothing else is said.
pub(crate) fn electorate(term: u64, members: &[NodeId], liars: Option<u8>) -> Result<Electorate, Failure> {
    let most = u8::try_from(members.len().saturating_sub(1) / 3).unwrap_or(u8::MAX);
    let found = Electorate::new(term, members.to_vec(), liars.unwrap_or(most));
    found.map_err(|problem| {
        let failure = Failure::new(Code::Data, problem.to_string());
        match (problem, liars) {
            (Problem::Electorate, Some(liars)) if liars > most => {
                let needed = 3 * usize::from(liars) + 1;
                failure.remedy(format!(
                    "{} members bear {most} liars, and {liars} need {needed} members; three members tolerate no liar",
                    members.len()
                ))
            }
            (Problem::Electorate, _) => failure.remedy("name 2 to 15 members with --member"),
            _ => failure.remedy("name each member once"),
        }
    })
}

pub(super) fn read_order(path: &Path) -> Result<(NetworkId, SignedOrder), Failure> {
    let bytes = read(path, COMMAND_BYTES_MAX as u64)?;
    SignedOrder::decode_file(&bytes).map_err(|error| {
        wrong(path, error).remedy("name the file that a command of `hushwire directory` made with --order")
    })
}

pub(super) fn write_order(path: &Path, order: &SignedOrder, network: NetworkId) -> Outcome {
    replace_file(path, &order.encode_file(network))
}

/// Adds signatures.
pub(super) fn sign_order(
    order: &mut SignedOrder,
    charter: &Charter,
    keys: &[PathBuf],
    member_keys: &[PathBuf],
) -> Outcome {
    for path in keys {
        let secret = operator_secret(path)?;
        if !charter.operators().contains(&secret.operator_key()) {
            return Err(wrong(path, Problem::UnknownOperator)
                .remedy("use the key of an operator that `hushwire network show CHARTER` lists"));
        }
        order.sign(charter.network_id(), &secret);
    }
    if !member_keys.is_empty() && !matches!(order.order, Order::Members(_)) {
        return Err(Failure::new(Code::Usage, "members sign changes of members only"));
    }
    for path in member_keys {
        order.consent(charter.network_id(), &settings::keys(path)?.node_secret);
    }
    Ok(())
}

pub(super) fn sign(args: &SignOrderArgs) -> Outcome {
    let charter = charter(&args.charter)?;
    if read(&args.file, TERM_BYTES_MAX).is_ok_and(|bytes| bytes.starts_with(TERM)) {
        return sign_term(args, &charter);
    }
    let (network, mut order) = read_order(&args.file)?;
    if network != charter.network_id() {
        return Err(wrong(&args.file, "the order is of another network").remedy("name that network's charter"));
    }
    sign_order(&mut order, &charter, &args.key, &args.member_key)?;
    write_order(&args.file, &order, network)?;
    let (found, needed) = (order.operators().len(), charter.threshold());
    let members = match &order.order {
        Order::Members(_) => format!(", and {} of the present members'", order.consenting().count()),
        _ => String::new(),
    };
    let shown = args.file.display();
    terminal::complain(&format!(
        "{shown}: {}. {found} of the {needed} operators' signatures that it needs{members}.\n",
        words(&order)
    ));
    Ok(())
}

fn sign_term(args: &SignOrderArgs, charter: &Charter) -> Outcome {
    let bytes = read(&args.file, TERM_BYTES_MAX)?;
    let mut term = TermFile::parse(&bytes).map_err(|error| wrong(&args.file, error))?;
    finish_term(&args.file, &mut term, charter, &args.key)
}

pub(super) fn term(args: &TermArgs) -> Outcome {
    let charter = charter(&args.charter)?;
    let electorate = electorate(args.term, &args.electorate.members, args.electorate.liars)?;
    let bytes = read(&args.state, STATE_BYTES_MAX)?;
    let state = Directory::decode(Arc::new(charter.clone()), &bytes).map_err(|error| {
        wrong(&args.state, error).remedy("name the file `directory.state` in a member's `state_dir`")
    })?;
    let (known, published) = (state.electorate().term(), state.published_name().index);
    if args.term <= known {
        return Err(wrong(&args.state, format!("its members are those of term {known}, so --term must be above that")));
    }
    terminal::complain(&format!(
        "The state knows edition {published} as the newest. If a member knows a later one, take that member's state.\n"
    ));
    finish_term(&args.file, &mut TermFile::new(charter.network_id(), state.hash(), electorate), &charter, &args.key)
}

fn finish_term(path: &Path, term: &mut TermFile, charter: &Charter, keys: &[PathBuf]) -> Outcome {
    for key in keys {
        term.sign(&operator_secret(key)?);
    }
    let enough = match term.verify(charter) {
        Ok(()) => "enough operators have signed".to_owned(),
        Err(problem @ Problem::TooFewSignatures { .. }) => problem.to_string(),
        Err(problem) => return Err(wrong(path, problem)),
    };
    replace_file(path, term.text().as_bytes())?;
    let members = term.electorate().members().len();
    terminal::complain(&format!(
        "{}: term {} of {members} members; {enough}.\n",
        path.display(),
        term.electorate().term()
    ));
    Ok(())
}

/// What an order says, for whoever signs it.
pub(super) fn words(order: &SignedOrder) -> String {
    let what = match &order.order {
        Order::Admit { node, admission } => format!(
            "admit {node} as {}, run by {}, at most {} kbit/s",
            admission.roles,
            admission.operator,
            admission.bandwidth.bits_per_second() / 1_000
        ),
        Order::Expel { node } => format!("expel {node}"),
        Order::Parameter(parameters) => format!("parameters {}", parameters.text().trim_end().replace('\n', ", ")),
        Order::Members(electorate) => {
            let members: Vec<String> = electorate.members().iter().map(ToString::to_string).collect();
            format!("term {} with {} liars of {}", electorate.term(), electorate.liars(), members.join(", "))
        }
    };
    format!("order {}: {what}", order.number)
}
