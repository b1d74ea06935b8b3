//! `hushwire init`: a configuration, keys, and the line for the other node.

use crate::args::{InitArgs, RoleArg};
use crate::cost;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::template::{Template, quoted};
use crate::terminal;
use identity::{KeyFile, PeerAddress, PeerString};
use shaping::{RateClass, SlotLength};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use wire::packet::PacketSize;

/// Everything that is needed to write the files.
struct Plan {
    role: RoleArg,
    rate: String,
    class: RateClass,
    peers: Vec<String>,
    public_address: Option<PeerAddress>,
    proxy: SocketAddr,
    folder: PathBuf,
}

pub(crate) fn run(args: InitArgs) -> Outcome {
    let plan = decide(args)?;
    let name = plan.role.name();
    let (config_path, key_path) = (plan.folder.join(format!("{name}.toml")), plan.folder.join(format!("{name}.keys")));
    for path in [&config_path, &key_path] {
        if path.symlink_metadata().is_ok() {
            let sentence = format!("{} exists already and is never overwritten", path.display());
            return Err(Failure::new(Code::CannotCreate, sentence)
                .remedy("choose another folder with --dir, or move the old files away"));
        }
    }
    std::fs::create_dir_all(&plan.folder)
        .map_err(|error| Failure::io(format!("cannot make the folder {}", plan.folder.display()), &error))?;
    let keys = settings::new_keys()?;
    let text = file_text(&plan, bind_port(&plan)?)?;
    config::create_secret_file(&key_path, &keys.reveal()).map_err(|error| settings::secret(&error))?;
    if let Err(error) = config::create_secret_file(&config_path, &text) {
        // Keys without their configuration would only be in the way of the next try.
        let _ = std::fs::remove_file(&key_path);
        return Err(settings::secret(&error));
    }
    terminal::say(&summary(&plan, &keys, &config_path, &key_path));
    Ok(())
}

/// Takes what the flags say, asks for the rest if somebody is there.
fn decide(args: InitArgs) -> Result<Plan, Failure> {
    let interactive = terminal::is_interactive();
    let role = match args.role {
        Some(role) => role,
        None if interactive => ask_role()?,
        None => return Err(not_given("--role entry or --role exit")),
    };
    let rate = match args.rate {
        Some(rate) => rate,
        None if interactive => ask_rate(role)?,
        None => return Err(not_given("--rate, such as --rate '2 Mbit/s'")),
    };
    let class = settings::rate(&rate)?;
    let public_address = match args.public_address {
        Some(written) => Some(parse_address(&written)?),
        None if interactive && role == RoleArg::Exit => ask_address()?,
        None => None,
    };
    let mut peers = args.peer;
    if interactive && peers.is_empty() && role == RoleArg::Entry {
        peers.extend(ask_line("The line that the exit printed (empty: later)")?);
    }
    check_peers(role, &peers)?;
    let proxy = args.proxy.parse().map_err(|_| {
        Failure::new(Code::Data, format!("--proxy {:?} is not an address with a port", args.proxy))
            .remedy("write such as 127.0.0.1:1080")
    })?;
    Ok(Plan { role, rate, class, peers, public_address, proxy, folder: args.dir })
}

fn not_given(what: &str) -> Failure {
    Failure::new(Code::Usage, format!("{what} is needed where nobody can be asked"))
        .remedy("give it as an option, or run `hushwire init` on a terminal")
}

fn ask_role() -> Result<RoleArg, Failure> {
    loop {
        match ask_line("What is this node, entry (applications connect here) or exit (flows leave from here)")?
            .as_deref()
        {
            Some("entry") => return Ok(RoleArg::Entry),
            Some("exit") => return Ok(RoleArg::Exit),
            _ => terminal::complain("Please write entry or exit.\n"),
        }
    }
}

fn ask_rate(role: RoleArg) -> Result<String, Failure> {
    let what = match role {
        RoleArg::Entry => "The rate is used day and night, in both directions, whatever you do",
        RoleArg::Exit => "The fastest rate that an entry may ask for, in each direction",
    };
    terminal::complain(&format!("{what}:\n{}", cost::table()));
    loop {
        let answer =
            terminal::ask("Rate", cost::OFFERED[0]).map_err(|error| Failure::io("cannot read the answer", &error))?;
        let Some(answer) = answer else { return Err(not_given("--rate")) };
        match config::parse_rate(&answer) {
            Ok(_) => return Ok(answer),
            Err(problem) => terminal::complain(&format!("{problem}: {}.\n", problem.remedy())),
        }
    }
}

fn ask_address() -> Result<Option<PeerAddress>, Failure> {
    let question =
        "Address and UDP port under which this exit is reached from outside, such as exit.example:4433 (empty: later)";
    loop {
        match ask_line(question)? {
            None => return Ok(None),
            Some(answer) => match answer.parse() {
                Ok(address) => return Ok(Some(address)),
                Err(error) => terminal::complain(&format!("{error}.\n")),
            },
        }
    }
}

/// One line; `None` when it is empty.
fn ask_line(question: &str) -> Result<Option<String>, Failure> {
    let answer = terminal::ask(question, "").map_err(|error| Failure::io("cannot read the answer", &error))?;
    match answer {
        Some(answer) if answer.is_empty() => Ok(None),
        Some(answer) => Ok(Some(answer)),
        None => Err(Failure::new(Code::Usage, "the input ended before every question was answered")),
    }
}

/// An address as `--public-address` and `--address` take it.
pub(crate) fn parse_address(written: &str) -> Result<PeerAddress, Failure> {
    written.parse().map_err(|error| {
        Failure::new(Code::Data, format!("{written:?} is not an address: {error}"))
            .remedy("write such as exit.example:4433 or 203.0.113.7:4433")
    })
}

fn check_peers(role: RoleArg, peers: &[String]) -> Result<(), Failure> {
    if role == RoleArg::Entry && peers.len() > 1 {
        return Err(Failure::new(Code::Usage, "an entry has one exit, so it takes one --peer"));
    }
    for line in peers {
        let peer: PeerString = line.parse().map_err(|error| {
            Failure::new(Code::Data, format!("--peer is not the line of a node: {error}"))
                .remedy("copy the whole line that `hushwire init` or `hushwire keys show` printed there")
        })?;
        if role == RoleArg::Entry && peer.address.is_none() {
            return Err(Failure::new(Code::Data, "the line of the exit has no address, so nothing can be sent to it")
                .remedy("run `hushwire keys show -c exit.toml --address HOST:PORT` at the exit"));
        }
    }
    Ok(())
}

/// The exit's UDP port: that of its public address, or a drawn one.
fn bind_port(plan: &Plan) -> Result<u16, Failure> {
    match &plan.public_address {
        Some(address) => Ok(address.port),
        None => settings::random_port(),
    }
}

fn file_text(plan: &Plan, port: u16) -> Result<String, Failure> {
    let rate = quoted(&plan.rate);
    let mut template;
    let mut all_set = true;
    match plan.role {
        RoleArg::Entry => {
            template = Template::new(config::EXAMPLE_ENTRY);
            template.drop_second("listen");
            all_set &= template.set("shaping", "up", &rate) && template.set("shaping", "down", &rate);
            all_set &= template.set("listen", "address", &quoted(&plan.proxy.to_string()));
            if let Some(peer) = plan.peers.first() {
                all_set &= template.set("", "peer", &quoted(peer.trim()));
            }
        }
        RoleArg::Exit => {
            template = Template::new(config::EXAMPLE_EXIT);
            all_set &= template.set("shaping", "max_rate", &rate);
            all_set &= template.set("network", "bind", &quoted(&format!("0.0.0.0:{port}")));
            all_set &= match &plan.public_address {
                Some(address) => template.set("network", "public_address", &quoted(&address.to_string())),
                None => template.comment_out("network", "public_address"),
            };
            let peers: Vec<String> = plan.peers.iter().map(|peer| quoted(peer.trim())).collect();
            all_set &= template.set("", "peers", &format!("[{}]", peers.join(", ")));
        }
    }
    if all_set { Ok(template.text()) } else { Err(Failure::new(Code::Software, "the example file lacks a key")) }
}

fn summary(plan: &Plan, keys: &KeyFile, config_path: &Path, key_path: &Path) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Wrote {} and {} (both readable by you only).", config_path.display(), key_path.display());
    let cost = cost::describe(plan.class, SlotLength::DEFAULT, PacketSize::DEFAULT);
    let _ = writeln!(text, "\nRate each way: {cost}.\nWhat other rates cost:\n{}", cost::table());
    let line = keys.peer_string(plan.public_address.clone());
    let config = config_path.display();
    match plan.role {
        RoleArg::Entry => {
            let _ = writeln!(text, "Add this line to `peers` in the exit's file (it is a secret of the two nodes):\n");
            let _ = writeln!(text, "{}\n", line.reveal().as_str());
            if plan.peers.is_empty() {
                let _ = writeln!(text, "Put the exit's line into `peer` in {config}.");
            }
            let _ = writeln!(text, "Then run: hushwire entry -c {config}");
        }
        RoleArg::Exit => {
            let _ = writeln!(text, "The entry needs this line (it is a secret of the two nodes):\n");
            let _ = writeln!(text, "{}\n", line.reveal().as_str());
            if plan.public_address.is_none() {
                let _ = writeln!(text, "It has no address yet: set network.public_address, then `hushwire keys show`.");
            }
            if plan.peers.is_empty() {
                let _ = writeln!(text, "Put the entry's line into `peers` in {config}.");
            }
            let _ = writeln!(text, "Then run: hushwire exit -c {config}");
        }
    }
    text
}
