//! `hushwire network`: charters, descriptors and documents.

mod files;
mod founding;

pub(crate) use files::{
    charter as read_charter, document, fitting_relay, onion_keys, operator_secret, prepare_lasting_key,
    replace_as_it_is, replace_bytes as replace_file,
};

use crate::args::network::{AssembleArgs, DescribeArgs, NetworkCommand, NewArgs, RoleArg, SignArgs};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use identity::OperatorSecret;
use network_document::{Charter, Descriptor, Draft, Label, Problem, SignedEdition};
use onion::Interval;
use std::fmt::Write;
use std::path::Path;
use wire::packet::PacketSize;

pub(crate) fn run(command: NetworkCommand) -> Outcome {
    match command {
        NetworkCommand::Operator { file } => operator(&file),
        NetworkCommand::New(args) => new(*args),
        NetworkCommand::Describe(args) => describe(*args),
        NetworkCommand::Assemble(args) => assemble(&args),
        NetworkCommand::Sign(args) => sign(&args),
        NetworkCommand::Show { file } => show(&file),
    }
}

/// A value that a document cannot have.
fn refused(problem: Problem) -> Failure {
    Failure::new(Code::Data, problem.to_string())
}

fn operator(file: &Path) -> Outcome {
    let secret = OperatorSecret::from_seed(settings::random()?);
    let text = secret.reveal();
    config::create_secret_file(file, &format!("{}\n", text.as_str())).map_err(|error| settings::secret(&error))?;
    terminal::say(&format!("{}\n", secret.operator_key()));
    terminal::complain(&format!("Wrote {}. The line above goes into the charter.\n", file.display()));
    Ok(())
}

fn new(args: NewArgs) -> Outcome {
    let name = Label::new(&args.name, "name").map_err(refused)?;
    let size = PacketSize::new(args.packet_size).map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    let mut charter = Charter::new(name, size, args.operator_key, args.threshold).map_err(refused)?;
    if args.founding.directory {
        charter = charter.with_directory(founding::founding(&args.founding)?).map_err(refused)?;
    }
    files::create(&args.file, &charter.text())?;
    terminal::say(&format!("{}\n", charter.network_id()));
    terminal::complain(&format!("Wrote {}. The line above is the network's id.\n", args.file.display()));
    Ok(())
}

fn describe(args: DescribeArgs) -> Outcome {
    let charter = files::charter(&args.charter)?;
    let keys = settings::keys(&args.keys)?;
    let operator = Label::new(&args.operator, "operator").map_err(refused)?;
    let bandwidth = settings::rate(&args.rate)?;
    let roles = RoleArg::roles(&args.role);
    let interval = Interval(args.interval);
    // The secret is on disk before anybody can use its public half.
    let onion_key = files::prepare_onion_key(&args.onion_keys, interval, roles.directory)?;
    let descriptor = Descriptor {
        node_id: keys.node_secret.node_id(),
        link_key: keys.link_secret.link_key(),
        door_key: keys.door_key.clone(),
        onion_keys: vec![(interval, onion_key)],
        addresses: args.address,
        hop_ports: args.hop_ports,
        roles,
        operator,
        bandwidth,
    };
    let signed = descriptor.sign(charter.network_id(), &keys.node_secret).map_err(refused)?;
    terminal::say(&signed.text());
    Ok(())
}

fn assemble(args: &AssembleArgs) -> Outcome {
    let charter = files::charter(&args.charter)?;
    let mut relays = Vec::new();
    for path in &args.descriptors {
        relays.push(files::descriptor(path, charter.network_id())?);
    }
    let draft = Draft::new(charter, Interval(args.interval), relays).map_err(refused)?;
    terminal::say(&draft.text());
    Ok(())
}

fn sign(args: &SignArgs) -> Outcome {
    let secret = files::operator_secret(&args.key)?;
    let mut draft = files::draft(&args.document)?;
    draft
        .sign(&secret)
        .map_err(|problem| refused(problem).remedy("use the key of an operator that `hushwire network show` lists"))?;
    files::replace(&args.document, &draft.text(), files::PUBLIC)?;
    let (found, needed) = (draft.signers().count(), draft.charter().threshold());
    terminal::complain(&format!("{}: {found} of the {needed} signatures that it needs.\n", args.document.display()));
    Ok(())
}

fn show(path: &Path) -> Outcome {
    if let Ok(charter) = files::charter(path) {
        terminal::say(&charter_lines(&charter));
        return Ok(());
    }
    if let Some(edition) = files::edition(path)? {
        return show_edition(path, edition);
    }
    let draft = files::draft(path)?;
    let mut text = charter_lines(draft.charter());
    let _ = writeln!(text, "interval   {}", draft.interval().0);
    draft.relays().for_each(|relay| text.push_str(&relay_lines(relay)));
    for signer in draft.signers() {
        let _ = writeln!(text, "signed by  {signer}");
    }
    terminal::say(&text);
    let finished = draft.finish().map_err(|problem| Failure::new(Code::Data, format!("{}: {problem}", path.display())));
    finished.map(|_| ())
}

fn show_edition(path: &Path, signed: SignedEdition) -> Outcome {
    let edition = signed.edition();
    let mut text = charter_lines(edition.charter());
    let _ = writeln!(text, "edition    {}, after {}", edition.index(), edition.previous().index);
    let _ = writeln!(text, "interval   {}", edition.key_interval().0);
    edition.relays().iter().for_each(|relay| text.push_str(&relay_lines(relay.descriptor())));
    let electorate = edition.electorate();
    for (member, _) in signed.signatures() {
        let _ = writeln!(text, "signed by  {member}");
    }
    let _ = writeln!(
        text,
        "members    {} of term {}, of whom {} must sign",
        electorate.members().len(),
        electorate.term(),
        electorate.quorum()
    );
    terminal::say(&text);
    let verified = signed.verify_by_own();
    verified.map(|_| ()).map_err(|error| Failure::new(Code::Data, format!("{}: {error}", path.display())))
}

fn relay_lines(relay: &Descriptor) -> String {
    let addresses: Vec<String> = relay.addresses.iter().map(ToString::to_string).collect();
    let (roles, operator, rate) = (relay.roles, &relay.operator, relay.bandwidth.bits_per_second() / 1000);
    let addresses = addresses.join(", ");
    format!("relay      {}\n           {roles}; run by {operator}; {rate} kbit/s; at {addresses}\n", relay.node_id)
}

fn charter_lines(charter: &Charter) -> String {
    let mut text = format!("network    {}\nid         {}\n", charter.name(), charter.network_id());
    let _ = writeln!(text, "packets    {} bytes", charter.packet_size().packet());
    for key in charter.operators() {
        let _ = writeln!(text, "operator   {key}");
    }
    let _ = writeln!(text, "needs      {} of {} signatures", charter.threshold(), charter.operators().len());
    if let Some(founding) = charter.founding() {
        founding::lines(&mut text, founding);
    }
    text
}
