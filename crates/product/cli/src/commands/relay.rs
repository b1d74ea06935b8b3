//! `hushwire relay`, and the check of its file.

use crate::args::network::RelayArgs;
use crate::commands::network;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::{StopSignals, hangup, input_end};
use crate::logging;
use crate::settings;
use crate::terminal;
use admin::peers::Neighbour;
use admin::protocol::{Request, Response};
use admin::relay::{RELAY_SCHEMA_VERSION, RelayStatus};
use admin::server::Server;
use admin::status::SCHEMA_VERSION;
use circuit_relay::{CircuitRelay, Door, Handle, NeighbourFigures, NothingJoined, RelaySettings, StartError};
use config::{Log, LogFormat, LogLevel, Relay};
use identity::NodeId;
use network_document::{NetworkDocument, OnionKeyFile};
use node::{DOCUMENT_LOOK, DocumentWatch, Found};
use relay_node::{Limits, RelayNodeConfig};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `check` looks for to know a relay's file.
const OWN_KEY: &str = "network_file";
/// Longer than any process runs.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(crate) fn run(args: &RelayArgs) -> Outcome {
    logging::start(&Log { level: LogLevel::Info, format: LogFormat::Text });
    let file = settings::loaded(config::load_relay(&args.config))?;
    let mut settings = relay_settings(&file)?;
    let replay = node::replay_file::open(&file.replay_file, os_net::clock::unix_day());
    let replay = replay.map_err(|error| {
        Failure::io(format!("cannot open {}", file.replay_file.display()), &error)
            .remedy("give another `replay_file`, in a folder that this user may write to")
    })?;
    settings.replay = Some(replay);
    let followed = Followed::new(&file, &settings);
    let relay = CircuitRelay::new(settings, NothingJoined).map_err(|error| start(&error))?;
    tracing::info!(interval = relay.interval().0, "relaying");
    if relay.is_exit() {
        tracing::warn!(
            "the document has this relay as an exit or directory, and `hushwire relay` joins nothing to circuits that end here; `hushwire exit` does"
        );
    }
    let handle = relay.handle();
    let admin = file.admin_socket.as_deref().map(Server::bind).transpose();
    let admin = admin.map_err(|error| super::run::admin_socket(&error))?;
    attend(&handle, &file, followed, admin, args.leash)?;
    let ran = relay.run();
    if let Some(socket) = &file.admin_socket {
        // The thread that serves it ends with the process; if it stays, the next start takes its place.
        let _ = std::fs::remove_file(socket);
    }
    ran.map_err(|error| Failure::new(Code::System, format!("the relay's sockets failed: {error}")))?;
    tracing::info!("{}", handle.snapshot());
    Ok(())
}

fn relay_settings(file: &Relay) -> Result<RelaySettings, Failure> {
    let keys = settings::keys(&file.key_file)?;
    let document = network::document(&file.network_file)?;
    let limits = Limits {
        links: file.links,
        clients: file.clients.min(file.links),
        links_per_source: file.links_per_source,
        circuits: file.circuits,
        circuits_per_client: file.circuits_per_client,
        cells: file.cells as usize,
        cells_per_neighbour: (file.cells as usize / 4).max(1),
        cells_per_circuit: file.cells_per_circuit as usize,
        ..Limits::default()
    };
    let node = RelayNodeConfig {
        node_id: keys.node_secret.node_id(),
        link_secret: keys.link_secret.clone(),
        door_key: keys.door_key.clone(),
        hops: Some(RelayNodeConfig::hops_of(&document, &keys.node_secret.node_id(), file.listen.port())),
        bandwidth: file.max_rate,
        limits,
    };
    Ok(RelaySettings {
        door: Door::Listen(file.listen),
        node,
        document,
        onion_keys: network::onion_keys(&file.onion_key_file)?,
        replay: None,
        drain: file.drain,
        seed: settings::random()?,
    })
}

/// Waits for signals, and for the end of the input if there is a leash, in a thread of its own, writes counters, and looks at the
/// network's file.
fn attend(handle: &Handle, file: &Relay, mut followed: Followed, admin: Option<Server>, leash: bool) -> Outcome {
    let (handle, counters) = (handle.clone(), file.counters);
    let runtime = runtime()?;
    let (mut signals, mut hangup) = {
        let _inside = runtime.enter();
        (StopSignals::without_hangup()?, hangup()?)
    };
    let (node_id, begun) = (followed.node.node_id, Instant::now());
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(admin) = admin {
                let asked = handle.clone();
                let answer = move |request| answer(request, &asked, node_id, begun);
                // It ends with the runtime.
                tokio::spawn(async move { admin.serve(answer).await });
            }
            let every = counters.unwrap_or(NEVER);
            let mut next = tokio::time::Instant::now() + every;
            let mut let_go = input_end(leash);
            loop {
                // All are cancel-safe; a look that is put off by a signal comes a second after it.
                tokio::select! {
                    () = signals.wait() => handle.stop(),
                    Some(()) = hangup.recv() => followed.look(&handle, true),
                    () = tokio::time::sleep(DOCUMENT_LOOK) => followed.look(&handle, false),
                    Ok(()) = &mut let_go, if leash => {
                        // Whoever held the other end is gone: nobody is to wait.
                        handle.stop();
                        return handle.stop();
                    }
                    () = tokio::time::sleep_until(next) => {
                        next += every;
                        tracing::info!("{}", handle.snapshot());
                    }
                }
            }
        });
    });
    // It ends with the process.
    waiting.map(|_| ()).map_err(|error| Failure::new(Code::System, format!("no thread for signals: {error}")))
}

/// What a running relay answers at its admin socket.
fn answer(request: Request, handle: &Handle, node_id: NodeId, begun: Instant) -> Response {
    match request {
        Request::Relay => Response::Relay { status: Box::new(status(handle, node_id, begun)) },
        Request::Stop => {
            handle.stop();
            Response::Stopping
        }
        Request::Version => {
            Response::Version { version: env!("CARGO_PKG_VERSION").to_owned(), status_schema: SCHEMA_VERSION }
        }
        _ => {
            Response::Refused { reason: "this is a relay; it has a status of its own and ends when told to".to_owned() }
        }
    }
}

fn status(handle: &Handle, node_id: NodeId, begun: Instant) -> RelayStatus {
    let counts = handle.snapshot();
    let neighbour = |neighbour: NeighbourFigures| Neighbour {
        node_id: neighbour.node.to_string(),
        answers: neighbour.answers,
        dialled: neighbour.dialled,
        rtt_us: neighbour.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        loss_per_mille: Some(neighbour.loss_per_mille.into()),
        hops: neighbour.hops,
    };
    RelayStatus {
        schema: RELAY_SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: node_id.to_string(),
        pid: std::process::id(),
        uptime_s: begun.elapsed().as_secs(),
        links: counts.links as u64,
        clients: counts.clients as u64,
        circuits: counts.circuits.into(),
        waiting: counts.waiting as u64,
        sent: counts.sent,
        dropped: counts.dropped,
        handshakes: counts.handshakes,
        hops: counts.hops,
        refused: counts.refused,
        packets_sent: counts.packets_sent,
        send_failed: counts.send_failed,
        packets_received: counts.received,
        neighbours: handle.neighbours().into_iter().map(neighbour).collect(),
    }
}

/// The network's document while the relay runs.
struct Followed {
    watch: DocumentWatch,
    /// What the relay was given last.
    document: NetworkDocument,
    node: RelayNodeConfig,
    onion_key_file: PathBuf,
}

impl Followed {
    fn new(file: &Relay, settings: &RelaySettings) -> Self {
        let watch = DocumentWatch::new(file.network_file.clone(), Some(file.onion_key_file.clone()));
        let (document, node) = (settings.document.clone(), settings.node.clone());
        Self { watch, document, node, onion_key_file: file.onion_key_file.clone() }
    }

    /// Looks at the files, `anew` whether they have changed or not, and gives the relay a later document that fits it.
    fn look(&mut self, handle: &Handle, anew: bool) {
        let found = if anew { self.watch.look_again(&self.document) } else { self.watch.look(&self.document) };
        let refused = match found {
            Found::Nothing => return,
            Found::Refused(sentence) => sentence,
            Found::Later(document) => match self.secrets_for(&document) {
                Ok(onion_keys) => {
                    self.document = (*document).clone();
                    return handle.set_document(*document, onion_keys);
                }
                Err(failure) => format!("{}: {}", self.watch.file().display(), failure.line()),
            },
        };
        tracing::warn!("a document of the network is refused, the one before stays in force: {refused}");
    }

    fn secrets_for(&self, document: &NetworkDocument) -> Result<OnionKeyFile, Failure> {
        let onion_keys = network::onion_keys(&self.onion_key_file)?;
        network::fitting_relay(self.node.clone(), document, &onion_keys)?;
        Ok(onion_keys)
    }
}

fn start(error: &StartError) -> Failure {
    match error {
        StartError::Config(_) => Failure::from_error(Code::Configuration, error),
        StartError::Listen { .. } => Failure::from_error(Code::System, error)
            .remedy("choose another `listen`, or end the program that has it (`ss -ulpn`)"),
        StartError::Replay(_) => Failure::from_error(Code::InputOutput, error).remedy("give another `replay_file`"),
        StartError::System(_) => {
            Failure::from_error(Code::System, error).remedy("look at the limits of this process (`ulimit -a`)")
        }
    }
}

/// Looks at lines, for a file with a slip of the pen is no document.
pub(super) fn is_file_of_relay(path: &Path) -> bool {
    let begins =
        |line: &str| line.trim_start().strip_prefix(OWN_KEY).is_some_and(|rest| rest.trim_start().starts_with('='));
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(begins))
}

/// What is wrong with a relay's file, or what it will do. Opens no socket.
pub(super) fn check(path: &Path) -> Outcome {
    let file = settings::loaded(config::load_relay(path))?;
    let RelaySettings { node, document, onion_keys, .. } = relay_settings(&file)?;
    let (own, limits) = (node.node_id, node.limits);
    let relay = network::fitting_relay(node, &document, &onion_keys)?;
    let document = relay.document();
    let mut text = format!("{} is good: a relay of `{}`.\n", path.display(), document.charter().name());
    let _ = writeln!(text, "  interval  {}, with {} relays", document.interval().0, document.relays().len());
    if let Some(descriptor) = document.relay(&own) {
        let _ = writeln!(text, "  roles     {}", descriptor.roles);
    }
    match file.max_rate {
        Some(class) => {
            let _ = writeln!(text, "  rate      {} kbit/s of what circuits carry", class.bits_per_second() / 1000);
        }
        None => text.push_str("  rate      as fast as it can\n"),
    }
    let memory = limits.cells * document.charter().packet_size().packet() / 1_000_000;
    let _ = writeln!(text, "  memory    at most {memory} MB of waiting cells, {} circuits", limits.circuits);
    terminal::say(&text);
    Ok(())
}
