//! An exit over circuits: a relay of a network at which tunnels end.

use crate::commands::network;
use crate::failure::{Code, Failure};
use crate::settings;
use circuit_relay::{BootSlots, ExitBoot};
use config::{Config, ExitNetwork};
use flow_queue::Geometry;
use identity::KeyFile;
use network_document::{NetworkDocument, OnionKeyFile};
use relay_node::{Limits, RelayNode, RelayNodeConfig};
use shaping::RateClass;

/// Bytes of a document that the shaped process can be told: it comes in a message of at most 256 KiB, with other things.
const DOCUMENT_MAX: usize = 200 << 10;

/// What an exit's files say, checked against each other.
pub(crate) struct Files {
    pub(crate) document: NetworkDocument,
    onion_keys: OnionKeyFile,
}

/// Reads the files of an exit, and checks that the document has it, as an exit or directory, with its keys.
pub(crate) fn files(exit: &ExitNetwork, keys: &KeyFile) -> Result<Files, Failure> {
    let document = network::document(&exit.file)?;
    let onion_keys = network::onion_keys(&exit.onion_key_file)?;
    let node = RelayNodeConfig {
        node_id: keys.node_secret.node_id(),
        link_secret: keys.link_secret.clone(),
        door_key: keys.door_key.clone(),
        hops: None,
        bandwidth: None,
        limits: Limits::default(),
    };
    let relay = RelayNode::new(node, document.clone(), &onion_keys, settings::random()?)
        .map_err(|error| Failure::from_error(Code::Configuration, &error))?;
    if !relay.is_exit() {
        let sentence = format!("{} has this node neither as an exit nor as a directory", exit.file.display());
        return Err(Failure::new(Code::Configuration, sentence).remedy(
            "describe it with `hushwire network describe --role exit` (or `directory`) and give that to the network's operators",
        ));
    }
    let bytes = document.text().len();
    if bytes > DOCUMENT_MAX {
        let sentence = format!("{} has {bytes} bytes; an exit takes at most {DOCUMENT_MAX}", exit.file.display());
        return Err(Failure::new(Code::Configuration, sentence)
            .remedy("run the exit in a smaller network: some 250 relays fit"));
    }
    Ok(Files { document, onion_keys })
}

/// The slots of its tunnels' cells; none in mode `off`. `fastest`: of one tunnel.
fn slots(config: &Config, fastest: RateClass) -> Option<BootSlots> {
    let shaping = &config.shaping;
    shaping.mode.is_shaped().then(|| BootSlots {
        pacing: super::pacing(config),
        fastest_class: fastest.number(),
        slot_ms: shaping.slot.as_millis(),
        lead_us: super::micros(shaping.lead),
        spin_us: super::micros(shaping.spin),
        realtime: config.process.realtime.then_some(super::REALTIME_PRIORITY),
    })
}

/// The boot message of its shaped process.
pub(super) fn boot(
    config: &Config,
    exit: &ExitNetwork,
    fastest: RateClass,
    keys: &KeyFile,
    queues: Geometry,
) -> Result<ExitBoot, Failure> {
    let Files { document, onion_keys } = files(exit, keys)?;
    Ok(ExitBoot {
        document: document.text(),
        onion_keys: onion_keys.reveal().to_string(),
        node_secret: keys.node_secret.reveal().to_string(),
        link_secret: keys.link_secret.reveal().to_string(),
        door_key: keys.door_key.reveal().to_string(),
        session_timeout_ms: config.session_timeout.as_millis() as u64,
        tunnels_max: exit.tunnels,
        // A single client then leaves half of the queue pairs to the others.
        flows_per_tunnel: (queues.max_flows() / 2).max(1),
        slots: slots(config, fastest),
        queues,
        core: config.process.shaped_core.map(usize::from),
        confine: true,
    })
}
