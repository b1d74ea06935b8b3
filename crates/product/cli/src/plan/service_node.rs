//! A service node: the network's document, the guards' file, the services' addresses, and where their ports lead.

use super::entry_network::{TakesAll, guards_text};
use super::{REALTIME_PRIORITY, geometry, micros, names, process};
use crate::commands::network;
use crate::failure::{Code, Failure};
use crate::settings;
use config::{Host, Mode, Service};
use identity::ServiceSecret;
use network_document::NetworkDocument;
use node::{
    AskHandle, DocumentPlan, HopPorts, KeptText, LaunchPlan, NodePlan, NodeRole, RestartPlan, STOP_DEADLINE_DEFAULT,
};
use onion_service::ServiceAddress;
use port_hopping::causes::Timers;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use shaped_tunnel::{BootHops, BootHost, BootPacing, ServiceBoot};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tunnel_plan::{Choice, Guards, PathRules, Relays, Target};

/// Where the boot message has the text of the guards' file (RFC 6901).
const GUARDS: &str = "/guards";
/// The file beside the guards' in which handshakes would be remembered, if anybody dialled this node.
const REPLAY: &str = "service.replay";

/// What the files of a service node say.
pub(crate) struct Files {
    pub(crate) document: NetworkDocument,
    /// The guards' file, if it is there.
    guards: Option<Guards>,
    /// In the order of the configuration.
    pub(crate) secrets: Vec<ServiceSecret>,
}

/// Reads the files of a service node, and checks that the network has places to meet and paths to them.
pub(crate) fn files(file: &Service) -> Result<Files, Failure> {
    let document = network::document(&file.network.file)?;
    if document.charter().packet_size().session_packet_virtual().is_none() {
        let sentence = format!("packets of the network in {} are too small for services", file.network.file.display());
        return Err(Failure::new(Code::Configuration, sentence)
            .remedy("services need a network whose packets have 1348 bytes or more"));
    }
    let guards = guards_text(&file.network.guards_file, &document, "network.guards_file")?;
    check_paths(file, &document, guards.as_ref())?;
    let secrets = file.hosts.iter().map(|host| settings::service_secret(&host.key_file));
    let secrets: Vec<ServiceSecret> = secrets.collect::<Result<_, _>>()?;
    Ok(Files { document, guards, secrets })
}

/// Three hops to a place to meet, over as many guards as are to be used.
fn check_paths(file: &Service, document: &NetworkDocument, stored: Option<&Guards>) -> Result<(), Failure> {
    let failed = |sentence: String| Failure::new(Code::Configuration, sentence);
    let used = file.network.guards;
    let rules = PathRules::new(tunnel_plan::HOPS_MAX, used).map_err(|error| failed(error.to_string()))?;
    let rules = rules.relaxed(file.network.relax).to(Target::Meeting);
    let relays = Relays::new(document);
    let mut guards = match stored {
        Some(guards) => guards.clone(),
        None => Guards::new(document.network_id(), used).map_err(|error| failed(error.to_string()))?,
    };
    let _ = guards.set_primaries(used);
    let rng = &mut ChaCha20Rng::from_seed(settings::random()?);
    let unix_s = os_net::clock::unix_time().as_secs();
    guards.handle_relays(unix_s, &relays, rng);
    let usable = guards.usable(unix_s);
    let choice = Choice { relays: &relays, rules, guards: &usable, allows: &|_| true, legs: &[] };
    choice.paths(rng).map(|_| ()).map_err(|refusal| {
        failed(format!(
            "{} has no paths for services over {used} guards: {}",
            file.network.file.display(),
            refusal.cause
        ))
        .remedy(format!("{} (`network.relax`, `network.guards`)", refusal.remedy))
    })
}

/// What the supervisor opens and starts. `asks`: who answers what the process asks.
pub(crate) fn node_plan(file: &Service, files: &Files, asks: AskHandle) -> Result<NodePlan, Failure> {
    let queues = geometry(&file.queues)?;
    let document = files.document.clone();
    let boot = ServiceBoot {
        document_bytes: document.encode().len(),
        guards: files.guards.as_ref().map(Guards::text),
        guards_used: file.network.guards,
        relax: file.network.relax.into(),
        hosts: file.hosts.iter().zip(&files.secrets).map(|(host, secret)| boot_host(host, secret)).collect(),
        pacing: if file.shaping.mode == Mode::Off { BootPacing::Off } else { BootPacing::Constant },
        base_class: file.base_rate.number(),
        fastest_class: file.max_rate.number(),
        slot_ms: file.shaping.slot.as_millis(),
        lead_us: micros(file.shaping.lead),
        spin_us: micros(file.shaping.spin),
        session_timeout_ms: file.session_timeout.as_millis() as u64,
        tunnels_max: file.tunnels.into(),
        memory_max: file.queues.memory_max.0,
        queues,
        hops: Some(hops()),
        realtime: file.process.realtime.then_some(REALTIME_PRIORITY),
        core: file.process.shaped_core.map(usize::from),
        confine: true,
    };
    let egress = egress::Boot {
        policy: policy(&file.hosts),
        connect_timeout_ms: file.connect_timeout.as_millis() as u64,
        ..egress::Boot::new(queues)
    };
    let guards_file = &file.network.guards_file;
    Ok(NodePlan {
        role: NodeRole::Service,
        queues,
        shaped: process(names::SHAPED_SERVICE, &boot, None)?,
        unshaped: process(names::UNSHAPED_CLIENT, &egress, file.process.unshaped_core)?,
        udp: file.network.bind.into(),
        further_udp: Vec::new(),
        hop_ports: HopPorts::Unprivileged,
        listeners: Vec::new(),
        replay_path: guards_file.with_file_name(REPLAY),
        document: Some(DocumentPlan {
            file: file.network.file.clone(),
            beside: None,
            document,
            role: Arc::new(TakesAll::at("/document_bytes")),
        }),
        kept: Some(KeptText { path: guards_file.clone(), pointer: GUARDS.to_owned() }),
        asks: Some(asks),
        stop_deadline: STOP_DEADLINE_DEFAULT,
        restart: RestartPlan::default(),
        launch: LaunchPlan::own_program(),
    })
}

fn boot_host(host: &Host, secret: &ServiceSecret) -> BootHost {
    BootHost {
        address: ServiceAddress(secret.public_key()).to_string(),
        ports: host.ports.iter().map(|port| (port.port, port.to)).collect(),
        clients: host.clients.iter().map(ToString::to_string).collect(),
        points: host.points,
    }
}

/// The servers behind the services and nothing else, whatever the shaped process says.
fn policy(hosts: &[Host]) -> Vec<String> {
    let mut targets: Vec<SocketAddr> = hosts.iter().flat_map(|host| &host.ports).map(|port| port.to).collect();
    targets.sort_unstable();
    targets.dedup();
    // An IPv6 address has its brackets already.
    targets.into_iter().map(|target| format!("allow {target}")).chain(["deny *".to_owned()]).collect()
}

/// Links hop as an entry's do by default.
fn hops() -> BootHops {
    let timers = Timers::default();
    let (interval, budget) = (timers.interval(), timers.budget());
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    BootHops {
        ports: None,
        addresses: Vec::new(),
        interval_ms: [millis(interval.min()), millis(interval.max())],
        budget_bytes: [budget.min(), budget.max()],
        unsafe_timers: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy_protocols::exit_policy::{ExitPolicy, Verdict};

    #[test]
    fn nothing_but_the_servers_of_the_file_is_dialled() {
        let text = "role = \"service\"\ndirectory = \"d\"\n[network]\nfile = \"n\"\n[[host]]\nname = \"web\"\nkey_file = \"k\"\n\
                    ports = [{ port = 80, to = \"127.0.0.1:8080\" }, { port = 81, to = \"[::1]:443\" }]\n";
        let file = config::parse_service(text, std::path::Path::new("")).expect("a good file");
        let lines = policy(&file.hosts);
        let policy = ExitPolicy::from_lines(lines.iter().map(String::as_str)).expect("a good policy");
        let says = |address: &str, port| policy.check_address(None, address.parse().expect("an address"), port);
        assert_eq!([says("127.0.0.1", 8080), says("::1", 443)], [Verdict::Allowed; 2]);
        for (address, port) in [("127.0.0.1", 80), ("127.0.0.1", 443), ("::1", 8080), ("198.51.100.1", 80)] {
            assert_eq!(says(address, port), Verdict::Denied, "{address} {port}");
        }
    }
}
