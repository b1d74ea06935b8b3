//! `hushwire join`: from an invitation to a node's files.

use crate::args::join::JoinArgs;
use crate::args::network::RoleArg;
use crate::clock;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use config::SecretFileError;
use identity::KeyFile;
use network_document::{Invitation, InvitationError, Label, Roles};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Where a relay listens if nothing else is said.
const PORT: u16 = 4433;
/// The only name of a node's file here.
const FILE: &str = "node.toml";

pub(crate) fn run(args: &JoinArgs) -> Outcome {
    let invitation = read(&args.invitation)?;
    settings::rate(&args.rate)?;
    let (text, keys) = match invitation.node_secret() {
        Some(secret) => {
            let keys = KeyFile::from_random([*secret.expose(), settings::random()?, settings::random()?]);
            (relay_text(args, &invitation)?, keys)
        }
        None => (entry_text(args), settings::new_keys()?),
    };
    make_folder(&args.dir)?;
    let write = |name: &str, text: &str| {
        config::create_secret_file(&args.dir.join(name), text)
            .map_err(|error: SecretFileError| settings::secret(&error))
    };
    write("invitation", &format!("{}\n", invitation.reveal().as_str()))?;
    write("node.keys", &keys.reveal())?;
    write(FILE, &text)?;
    // What was written is good, or this is a defect.
    let file = args.dir.join(FILE);
    settings::loaded(config::load_node(&file))?;
    terminal::say(&format!("hushwire node {}\n", file.display()));
    let what = match invitation.node_secret() {
        Some(secret) => format!("a relay of `{}`, {}", invitation.charter().name(), secret.node_id()),
        None => format!("an entry into `{}`, with a proxy at {}", invitation.charter().name(), args.proxy),
    };
    terminal::complain(&format!("Wrote {}: {what}. The line above runs it.\n", args.dir.display()));
    warn_of_clock(args, &invitation)
}

/// Nobody answers a node whose clock is wrong by a day, so this is the moment to say it.
fn warn_of_clock(args: &JoinArgs, invitation: &Invitation) -> Outcome {
    let mut warning = clock::against_charter(invitation.charter(), settings::now_ms()?);
    if warning.is_none() && !args.offline {
        warning = runtime()?.block_on(clock::against_directory(invitation));
    }
    if let Some(warning) = warning {
        terminal::complain(&format!("warning: {warning}.\n"));
    }
    Ok(())
}

/// An invitation, or what a file has.
fn read(given: &str) -> Result<Invitation, Failure> {
    match given.parse::<Invitation>() {
        Ok(invitation) => Ok(invitation),
        Err(_) if Path::new(given).is_file() => crate::commands::mirror::invitation(Path::new(given)),
        Err(error @ (InvitationError::Text(_) | InvitationError::Bytes(_))) => {
            Err(Failure::from_error(Code::Data, &error).remedy("copy the whole of it, or name a file with it"))
        }
        Err(error) => Err(Failure::from_error(Code::Data, &error)),
    }
}

fn make_folder(path: &Path) -> Outcome {
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Code::CannotCreate, format!("{} exists already and is never overwritten", path.display()))
                .remedy("choose another folder with --dir")
        }
        _ => Failure::io(format!("cannot make the folder {}", path.display()), &error),
    })
}

fn entry_text(args: &JoinArgs) -> String {
    let shaping = if args.unshaped {
        "mode = \"off\"\n".to_owned()
    } else {
        format!("mode = \"constant\"\nup = {0:?}\ndown = {0:?}\n", args.rate)
    };
    format!(
        "# An entry, made by `hushwire join`. All keys: docs/node.md.\n\n\
         [mirror]\ninvitation_file = \"invitation\"\nentry = \"directory-stream.sock\"\n\n\
         [entry]\nkey_file = \"node.keys\"\n\n\
         [entry.network]\nfile = \"network.document\"\nguards_file = \"guards\"\nhops = {}\nlegs = {}\nservices = true\n\n\
         [entry.shaping]\n{shaping}\n\
         [[entry.listen]]\nkind = \"proxy\"\naddress = \"{}\"\n\n\
         # The mirror fetches documents through the tunnel.\n\
         [[entry.listen]]\nkind = \"directory\"\nunix = \"directory-stream.sock\"\n",
        args.hops, args.legs, args.proxy
    )
}

fn relay_text(args: &JoinArgs, invitation: &Invitation) -> Result<String, Failure> {
    let operator = args.operator.as_ref().ok_or_else(|| {
        Failure::new(Code::Usage, "a relay says who runs it")
            .remedy("add --operator with the name under which the operators admitted it")
    })?;
    let operator = Label::new(operator, "operator").map_err(|problem| Failure::new(Code::Data, problem.to_string()))?;
    let addresses = if args.address.is_empty() { vec![own_address(invitation)?] } else { args.address.clone() };
    let roles = match args.role.as_slice() {
        [] => Roles { guard: true, middle: true, ..Roles::default() },
        roles => RoleArg::roles(roles),
    };
    let joins = roles.exit || roles.directory;
    let listen = listen_at(addresses.first().copied());
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let mut text = format!(
        "# A relay, made by `hushwire join`. All keys: docs/node.md.\n\n\
         [mirror]\ninvitation_file = \"invitation\"\nsocket = \"directory.sock\"\n\n\
         [mirror.announce]\nkey_file = \"node.keys\"\nonion_key_file = \"node.onion-keys\"\naddresses = [{}]\nroles = \"{roles}\"\n\
         operator = \"{operator}\"\nrate = {:?}\n",
        quoted.join(", "),
        args.rate
    );
    for (key, ports) in [("hop_ports", &args.hop_ports), ("exit_ports", &args.exit_ports)] {
        if let Some(ports) = ports {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key} = \"{ports}\"");
        }
    }
    text.push_str(&if joins { exit_part(args, roles, listen) } else { relay_part(args, listen) });
    Ok(text)
}

fn relay_part(args: &JoinArgs, listen: SocketAddr) -> String {
    format!(
        "\n[relay]\nkey_file = \"node.keys\"\nonion_key_file = \"node.onion-keys\"\nnetwork_file = \"network.document\"\n\
         listen = \"{listen}\"\nmax_rate = {:?}\n",
        args.rate
    )
}

fn exit_part(args: &JoinArgs, roles: Roles, listen: SocketAddr) -> String {
    let mode = if args.unshaped { "off" } else { "constant" };
    let policy = if roles.exit { "" } else { "\n[exit.exit_policy]\nrules = [\"deny *\"]\n" };
    format!(
        "\n[exit]\nkey_file = \"node.keys\"\n\n\
         [exit.network]\nbind = \"{listen}\"\nfile = \"network.document\"\nonion_key_file = \"node.onion-keys\"\n\n\
         [exit.directory]\nsocket = \"directory.sock\"\n\n\
         [exit.shaping]\nmode = \"{mode}\"\n{policy}"
    )
}

/// Where a relay listens that is reached at this address: there, if the address is this machine's, else everywhere.
fn listen_at(address: Option<SocketAddr>) -> SocketAddr {
    let address = address.unwrap_or(SocketAddr::from(([0; 4], PORT)));
    let is_own = UdpSocket::bind((address.ip(), 0)).is_ok();
    let any: IpAddr = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    if is_own { address } else { SocketAddr::new(any, address.port()) }
}

/// This machine's address on its way to the directory. Nothing is sent.
fn own_address(invitation: &Invitation) -> Result<SocketAddr, Failure> {
    let contact = invitation.contacts().iter().flat_map(|contact| &contact.addresses).next();
    let towards = |to: &SocketAddr| {
        let any: IpAddr = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        socket.local_addr()
    };
    let found = contact.map(towards).and_then(Result::ok);
    found.map(|found| SocketAddr::new(found.ip(), PORT)).ok_or_else(|| {
        Failure::new(Code::System, "this machine's own address is not known")
            .remedy("add --address with the address and port")
    })
}
