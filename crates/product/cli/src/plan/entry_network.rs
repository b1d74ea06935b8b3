//! An entry over circuits: the network's document, the guards' file, and what is asked of paths.

use crate::commands::network;
use crate::failure::{Code, Failure};
use crate::settings;
use config::{Config, Entry, EntryNetwork, ListenKind, Listener, NearAddress, Queues, Role, SecretFileError};
use identity::NodeId;
use network_document::NetworkDocument;
use node::{DocumentPlan, DocumentRole, KeptText, TakenDocument, UdpPlan};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use shaped_tunnel::{BootCircuits, BootSide, Order};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tunnel_plan::{Choice, Guards, PathRules, Place, Relays, Remedy, Target, Ways};

/// Where the boot message has the text of the guards' file (RFC 6901).
const GUARDS: &str = "/side/circuits/guards";
/// Where it has the length of the document.
const DOCUMENT_BYTES: &str = "/side/circuits/document_bytes";

/// What an entry's files say, checked against each other and against what is asked for.
pub(crate) struct Files {
    pub(crate) document: NetworkDocument,
    /// The guards' file, if it is there.
    pub(crate) guards: Option<String>,
}

/// Reads the files of an entry, and checks that the network has paths as they are asked for.
pub(crate) fn files(network: &EntryNetwork, entry: &Entry, bind: SocketAddr) -> Result<Files, Failure> {
    let document = network::document(&network.file)?;
    let guards = guards(network, &document)?;
    check_paths(network, rules(network, entry), bind, &document, guards.as_ref())?;
    let guards = guards.map(|guards| guards.text());
    Ok(Files { document, guards })
}

/// Where the entry's sockets are, if it says so.
fn network_ends(network: &EntryNetwork) -> Vec<UdpPlan> {
    let end = |near: &NearAddress| match near {
        NearAddress::Address(address) => SocketAddr::new(*address, 0).into(),
        NearAddress::Interface(name) => {
            UdpPlan { address: SocketAddr::from(([0; 4], 0)), interface: Some(name.clone()) }
        }
    };
    network.from.iter().map(end).collect()
}

/// The UDP sockets of a node: the first one, and further ones.
pub(super) fn sockets(config: &Config) -> (UdpPlan, Vec<UdpPlan>) {
    let ends = match &config.role {
        Role::Entry(Entry { network: Some(network), .. }) => network_ends(network),
        Role::Entry(_) | Role::Exit(_) => Vec::new(),
    };
    let mut ends = ends.into_iter();
    let first = ends.next().unwrap_or_else(|| config.network.bind.into());
    (first, ends.collect())
}

/// What is asked of the entry's paths. Its directory streams go through the same tunnels as everything else, so those lead to
/// exits that have a directory if there is a listener for such streams, or services are looked up.
fn rules(network: &EntryNetwork, entry: &Entry) -> PathRules {
    network.rules.to(if wants_directory(entry) { Target::ExitAndDirectory } else { Target::Exit })
}

fn wants_directory(entry: &Entry) -> bool {
    let is_of_directory = |listener: &Listener| listener.kind == ListenKind::Directory;
    entry.listeners.iter().any(is_of_directory) || leads_to_services(entry)
}

/// Whether names of services are for this entry to find.
pub(super) fn leads_to_services(entry: &Entry) -> bool {
    entry.network.as_ref().is_some_and(|network| network.services)
}

fn guards(entry: &EntryNetwork, document: &NetworkDocument) -> Result<Option<Guards>, Failure> {
    guards_text(&entry.guards_file, document, "network.guards_file")
}

/// The guards in a file, if it is there. `key`: where the configuration names it.
pub(super) fn guards_text(path: &Path, document: &NetworkDocument, key: &str) -> Result<Option<Guards>, Failure> {
    let text = match config::read_secret_file(path) {
        Ok(text) => text,
        Err(SecretFileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(settings::secret(&error)),
    };
    Guards::parse(&text, document.network_id()).map(Some).map_err(|error| {
        Failure::new(Code::Data, format!("{} is no file of guards of this network: {error}", path.display())).remedy(
            format!("name another `{key}`, or move this one away: then new guards are drawn, which shows this node to more relays"),
        )
    })
}

/// Whether the document has paths for this entry. Guards that do not answer today are no matter of the file.
fn check_paths(
    entry: &EntryNetwork,
    rules: PathRules,
    bind: SocketAddr,
    document: &NetworkDocument,
    stored: Option<&Guards>,
) -> Result<(), Failure> {
    let failed = |sentence: String| Failure::new(Code::Configuration, sentence);
    let relays = Relays::new(document);
    let mut guards = match stored {
        Some(guards) => guards.clone(),
        None => Guards::new(document.network_id(), entry.rules.legs())
            .map_err(|error| Failure::from_error(Code::Configuration, &error))?,
    };
    let _ = guards.set_primaries(entry.rules.legs());
    // Only to see whether there are paths: what is drawn here is thrown away.
    let rng = &mut ChaCha20Rng::from_seed(settings::random()?);
    let unix_s = os_net::clock::unix_time().as_secs();
    guards.handle_relays(unix_s, &relays, rng);
    if let Some(exit) = entry.exit.filter(|exit| !relays.has(exit, Place::Exit)) {
        let sentence = format!("{} has no exit {exit}, which `network.exit` names", entry.file.display());
        return Err(failed(sentence).remedy("remove `network.exit`, or name one of its exits"));
    }
    let allows = |candidate: &NodeId| entry.exit.is_none_or(|exit| exit == *candidate);
    let usable = guards.usable(unix_s);
    let choice = Choice { relays: &relays, rules, guards: &usable, allows: &allows, legs: &[] };
    let near: Vec<bool> = match &network_ends(entry)[..] {
        [] => vec![bind.is_ipv4()],
        ends => ends.iter().map(|end| end.address.is_ipv4()).collect(),
    };
    let ways = |exit: &NodeId| document.relay(exit).map_or(0, |exit| Ways::new(&near, &exit.addresses).count());
    let chosen = if rules.has_only_ways() { choice.direct_paths(&ways, rng) } else { choice.paths(rng) };
    chosen.map(|_| ()).map_err(|refusal| {
        let (hops, legs) = (entry.rules.hops(), entry.rules.legs());
        failed(format!("{} has no paths for {legs} legs of {hops} hops: {}", entry.file.display(), refusal.cause))
            .remedy(match refusal.remedy {
                Remedy::MoreWays => format!("{} (`network.from`, `network.legs`)", refusal.remedy),
                _ => format!("{} (`network.relax`, `network.legs`, `network.hops`)", refusal.remedy),
            })
    })
}

/// What the shaped process is told, and the document that it is given.
pub(super) fn side(
    network: &EntryNetwork,
    entry: &Entry,
    bind: SocketAddr,
    queues: &Queues,
) -> Result<(BootSide, DocumentPlan), Failure> {
    let Files { document, guards } = files(network, entry, bind)?;
    let access = network.access_key_file.as_ref().map(|path| config::read_access_secret(path));
    let access = access.transpose().map_err(|error| settings::secret(&error))?;
    let side = BootSide::Circuits(BootCircuits {
        document_bytes: document.encode().len(),
        guards,
        hops: network.rules.hops(),
        legs: network.rules.legs(),
        directory: wants_directory(entry),
        relax: network.rules.relaxation().into(),
        from: network.from.iter().map(ToString::to_string).collect(),
        exit: network.exit.map(|exit| exit.to_string()),
        tunnels: network.tunnels,
        isolate_clients: network.isolates_clients,
        services: network.services,
        access_key: access.map(|key| key.reveal().to_string()),
        memory_max: queues.memory_max.0,
        up_class: entry.up.number(),
        down_class: entry.down.number(),
    });
    Ok((
        side,
        DocumentPlan {
            file: network.file.clone(),
            beside: None,
            document,
            role: Arc::new(TakesAll::at(DOCUMENT_BYTES)),
        },
    ))
}

/// An entry takes each later document of its network: what the network lacks is in the log and in `status`, as at any other time.
pub(super) struct TakesAll {
    document_bytes: &'static str,
}

impl TakesAll {
    /// `document_bytes`: where the boot message has the length of the document.
    pub(super) fn at(document_bytes: &'static str) -> Self {
        Self { document_bytes }
    }
}

impl DocumentRole for TakesAll {
    fn take(&self, _: &NetworkDocument, bytes: usize) -> Result<TakenDocument, String> {
        let order = serde_json::to_value(Order::Document { bytes, onion_keys: None });
        let order = order.map_err(|error| format!("the order cannot be written: {error}"))?;
        Ok(TakenDocument { order, boot: vec![(self.document_bytes, bytes.into())] })
    }
}

/// Where the supervisor keeps the guards.
pub(super) fn kept(config: &Config) -> Option<KeptText> {
    let Role::Entry(Entry { network: Some(entry), .. }) = &config.role else { return None };
    Some(KeptText { path: entry.guards_file.clone(), pointer: GUARDS.to_owned() })
}
