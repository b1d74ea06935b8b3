//! `hushwire relay`, and the check of its file.

use crate::args::network::RelayArgs;
use crate::commands::network;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::{StopSignals, input_end};
use crate::logging;
use crate::settings;
use crate::terminal;
use circuit_relay::{CircuitRelay, Door, Handle, NothingJoined, RelaySettings, StartError};
use config::{Log, LogFormat, LogLevel, Relay};
use relay_node::{Limits, RelayNode, RelayNodeConfig};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What `check` looks for to know a relay's file.
const OWN_KEY: &str = "network_file";

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
    let relay = CircuitRelay::new(settings, NothingJoined).map_err(|error| start(&error))?;
    tracing::info!(interval = relay.interval().0, "relaying");
    if relay.is_exit() {
        tracing::warn!(
            "the document has this relay as an exit or directory, and `hushwire relay` joins nothing to circuits that end here; `hushwire exit` does"
        );
    }
    let handle = relay.handle();
    attend(&handle, file.counters, args.leash)?;
    relay.run().map_err(|error| Failure::new(Code::System, format!("the relay's sockets failed: {error}")))?;
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

/// Waits for signals, and for the end of the input if there is a leash, in a thread of its own, and writes counters.
fn attend(handle: &Handle, counters: Option<Duration>, leash: bool) -> Outcome {
    let handle = handle.clone();
    let runtime = runtime()?;
    let mut signals = {
        let _inside = runtime.enter();
        StopSignals::new()?
    };
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let every = counters.unwrap_or(Duration::MAX / 2);
            let mut let_go = input_end(leash);
            loop {
                tokio::select! {
                    () = signals.wait() => handle.stop(),
                    Ok(()) = &mut let_go, if leash => {
                        // Whoever held the other end is gone: nobody is to wait.
                        handle.stop();
                        return handle.stop();
                    }
                    () = tokio::time::sleep(every) => tracing::info!("{}", handle.snapshot()),
                }
            }
        });
    });
    // It ends with the process.
    waiting.map(|_| ()).map_err(|error| Failure::new(Code::System, format!("no thread for signals: {error}")))
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
    let RelaySettings { node, document, onion_keys, seed, .. } = relay_settings(&file)?;
    let (own, limits) = (node.node_id, node.limits);
    let relay = RelayNode::new(node, document, &onion_keys, seed);
    let relay = relay.map_err(|error| Failure::from_error(Code::Configuration, &error))?;
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
