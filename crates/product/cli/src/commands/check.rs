//! `hushwire check`: what is wrong with a file, or what it will do.

use crate::args::CheckArgs;
use crate::commands::{cluster, mirror, relay, service};
use crate::cost;
use crate::failure::{Code, Failure, Outcome};
use crate::plan::{entry_network, exit_network};
use crate::settings;
use crate::terminal;
use config::{Config, Entry, EntryNetwork, Exit, ExitNetwork, ListenKind, NodePart, PartPath, Role};
use port_hopping::ports::PortSet;
use port_hopping::targets::TargetAddress;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(args: &CheckArgs) -> Outcome {
    match kind(&args.config) {
        Kind::Several => check_parts(&args.config),
        Kind::Cluster => cluster::check(&args.config),
        Kind::Mirror => mirror::check(&args.config),
        Kind::Relay => relay::check(&args.config),
        Kind::Service => service::check(&args.config),
        Kind::OfPair => check_one(&args.config),
    }
}

/// Whose file it is.
pub(crate) enum Kind {
    Several,
    Cluster,
    Mirror,
    Relay,
    Service,
    OfPair,
}

/// By its part, or by its keys.
pub(crate) fn kind(path: &Path) -> Kind {
    match PartPath::of(path).part {
        Some(NodePart::Cluster) => Kind::Cluster,
        Some(NodePart::Mirror) => Kind::Mirror,
        Some(NodePart::Relay) => Kind::Relay,
        Some(NodePart::Service) => Kind::Service,
        Some(NodePart::Exit | NodePart::Entry) => Kind::OfPair,
        None if is_file_of_several(path) => Kind::Several,
        None if cluster::is_file_of_node(path) => Kind::Cluster,
        None if mirror::is_file_of_mirror(path) => Kind::Mirror,
        None if relay::is_file_of_relay(path) => Kind::Relay,
        None if service::is_file_of_services(path) => Kind::Service,
        None => Kind::OfPair,
    }
}

/// Whether a table of the file is a part. Looks at lines, for a file with a slip of the pen is no document.
pub(crate) fn is_file_of_several(path: &Path) -> bool {
    let is_part = |line: &str| {
        let name = line.trim().strip_prefix('[').and_then(|rest| rest.split([']', '.']).next());
        name.is_some_and(|name| NodePart::named(name).is_some())
    };
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(is_part))
}

/// Checks a node of several parts, as a whole and then part by part.
fn check_parts(path: &Path) -> Outcome {
    let file = settings::loaded(config::load_node(path))?;
    for part in file.parts() {
        let path = PartPath { file: path.to_owned(), part: Some(part) }.to_path();
        match part {
            NodePart::Cluster => cluster::check(&path)?,
            NodePart::Mirror => mirror::check(&path)?,
            NodePart::Relay => relay::check(&path)?,
            NodePart::Service => service::check(&path)?,
            NodePart::Exit | NodePart::Entry => check_one(&path)?,
        }
    }
    Ok(())
}

fn check_one(path: &Path) -> Outcome {
    let config = settings::load(path)?;
    let keys = settings::keys(&config.key_file)?;
    check_users(&config)?;
    let me = keys.node_secret.node_id();
    let peers = match &config.role {
        Role::Entry(entry) => entry.peer.as_slice(),
        Role::Exit(exit) => exit.peers.as_slice(),
    };
    if peers.iter().any(|peer| peer.node_id == me) {
        let key = if matches!(config.role, Role::Entry(_)) { "peer" } else { "peers" };
        return Err(Failure::new(Code::Configuration, format!("`{key}` in {} is this node itself", path.display()))
            .remedy("put in the line of the other node"));
    }
    let network = match &config.role {
        Role::Exit(Exit { network: Some(exit), .. }) => Some(exit_network::files(exit, &keys)?),
        Role::Entry(_) | Role::Exit(_) => None,
    };
    let mut text = report(path, &config, network.as_ref());
    if let Role::Entry(entry @ Entry { network: Some(network), .. }) = &config.role {
        let line = entry_over_circuits(network, &entry_network::files(network, entry, config.network.bind)?);
        let first = text.find('\n').map_or(text.len(), |end| end + 1);
        text.insert_str(first, &line);
    }
    terminal::say(&text);
    Ok(())
}

/// Every users file can be read and means something.
fn check_users(config: &Config) -> Outcome {
    let Role::Entry(entry) = &config.role else { return Ok(()) };
    for listener in &entry.listeners {
        let ListenKind::Proxy { users_file: Some(file), login_required } = &listener.kind else { continue };
        let users = config::read_users(file).map_err(|error| settings::secret(&error))?;
        proxy_protocols::access::Access::new(&users, *login_required).map_err(|error| {
            Failure::new(Code::Data, format!("{}: {error}", file.display()))
                .remedy("write one user, a colon and the password in each line")
        })?;
    }
    Ok(())
}

fn report(path: &Path, config: &Config, network: Option<&exit_network::Files>) -> String {
    let mut text =
        format!("{} is good: an {} in mode {}.\n", path.display(), config.role.name(), config.shaping.mode.name());
    let cost = |class| cost::describe(class, config.shaping.slot, config.network.packet_size);
    match &config.role {
        Role::Entry(entry) if config.shaping.mode.is_shaped() => {
            let _ = writeln!(text, "  up        {}", cost(entry.up));
            let _ = writeln!(text, "  down      {}", cost(entry.down));
        }
        Role::Entry(_) => {}
        Role::Exit(Exit { network: Some(exit), max_rate, .. }) => {
            over_circuits(&mut text, exit, network);
            if config.shaping.mode.is_shaped() {
                let _ = writeln!(text, "  at most   {}, for the answers of each tunnel", cost(*max_rate));
            }
        }
        Role::Exit(exit) => {
            let _ = writeln!(text, "  at most   {}, for each entry and direction", cost(exit.max_rate));
            let _ = writeln!(text, "  peers     {}", exit.peers.len());
            if let Some(ports) = &exit.hop_ports {
                let _ = writeln!(text, "  hops      over {} ports: {ports}; let UDP to them in", ports.len());
                for line in address_lines(&exit.hop_addresses) {
                    let _ = writeln!(text, "{line}");
                }
                let _ = writeln!(text, "  firewall  makes those that are closed as silent as those that are open:");
                let _ = writeln!(text, "            {}", nft_line(ports));
            }
        }
    }
    let queues = &config.queues;
    let memory = queues.memory();
    let _ =
        writeln!(text, "  memory    {memory} for {} flows, two rings of {} each", queues.max_flows, queues.queue_size);
    let mut warnings: Vec<String> = config
        .warnings()
        .into_iter()
        .map(|warning| {
            let word = if warning.is_alarm() { "ALARM" } else { "warning" };
            format!("{word}: `{}`: {warning}", warning.key())
        })
        .collect();
    if others_can_read(path) {
        let sentence =
            format!("warning: {0} holds a secret and others can read it; run `chmod 600 {0}`", path.display());
        warnings.insert(0, sentence);
    }
    for warning in warnings {
        let _ = writeln!(text, "{warning}");
    }
    text
}

/// The network of an entry over circuits, and what its paths are.
fn entry_over_circuits(entry: &EntryNetwork, files: &entry_network::Files) -> String {
    let document = &files.document;
    let (name, interval, relays) = (document.charter().name(), document.interval().0, document.relays().len());
    let (legs, hops) = (entry.rules.legs(), entry.rules.hops());
    let from: Vec<String> = entry.from.iter().map(ToString::to_string).collect();
    let from = if from.is_empty() { String::new() } else { format!(", from {}", from.join(" and ")) };
    let paths = match (hops, legs) {
        (1, 1) => format!("1 leg of 1 hop{from}"),
        (1, _) => format!("{legs} legs of 1 hop{from}, each over another way to the exit"),
        _ => format!("{legs} legs of {hops} hops{from}"),
    };
    let guards = match files.guards {
        _ if hops == 1 => "none: the exit itself is the first hop".to_owned(),
        Some(_) => format!("those of {}", entry.guards_file.display()),
        None => format!("drawn at the start, and written to {}", entry.guards_file.display()),
    };
    let exit = entry.exit.map_or("drawn".to_owned(), |exit| exit.to_string());
    let tunnels = match (entry.tunnels, entry.isolates_clients) {
        (1, false) => "one for all".to_owned(),
        (kept, false) => format!("one for all, {} ready", kept - 1),
        (kept, true) => format!("one for each client, {kept} ready"),
    };
    format!(
        "  network   `{name}`, interval {interval}, with {relays} relays\n  paths     {paths}\n  guards    \
         {guards}\n  exit      {exit}\n  tunnels   {tunnels}\n"
    )
}

/// The network of an exit over circuits, and how many tunnels end there.
fn over_circuits(text: &mut String, exit: &ExitNetwork, files: Option<&exit_network::Files>) {
    if let Some(exit_network::Files { document, .. }) = files {
        let (name, interval) = (document.charter().name(), document.interval().0);
        let _ = writeln!(text, "  network   `{name}`, interval {interval}, with {} relays", document.relays().len());
    }
    let _ = writeln!(text, "  tunnels   at most {}, of any client", exit.tunnels);
}

/// What addresses are offered, and what each prefix needs: a route that makes all of its addresses this machine's.
fn address_lines(addresses: &[TargetAddress]) -> Vec<String> {
    if addresses.is_empty() {
        return Vec::new();
    }
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!("            at {}", listed.join(", "))];
    let prefixes = addresses.iter().filter(|address| matches!(address, TargetAddress::Prefix(_)));
    lines.extend(prefixes.map(|prefix| format!("  route     ip -6 route add local {prefix} dev lo")));
    lines
}

/// One line for nftables: no answer of the system tells closed ports from open ones. The bytes that are looked at are the
/// destination port in the packet that an error message quotes (RFC 792, RFC 4443 section 3.1).
fn nft_line(ports: &PortSet) -> String {
    let ports = ports.to_string().replace(',', ", ");
    let rule = |protocol: &str, bit: u32| {
        format!(
            "add rule inet hushwire silence {protocol} type destination-unreachable @th,{bit},16 {{ {ports} }} drop"
        )
    };
    format!(
        "nft 'add table inet hushwire; add chain inet hushwire silence {{ type filter hook output priority 0; }}; {}; {}'",
        rule("icmp", 240),
        rule("icmpv6", 400)
    )
}

fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.permissions().mode() & 0o044 != 0)
}
