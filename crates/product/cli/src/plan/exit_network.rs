//! An exit over circuits: a relay of a network at which tunnels end.

use crate::commands::network;
use crate::failure::{Code, Failure};
use circuit_relay::{BootSlots, ExitBoot};
use config::{Config, ExitNetwork};
use flow_queue::Geometry;
use identity::KeyFile;
use network_document::{NetworkDocument, OnionKeyFile};
use node::{DocumentPlan, DocumentRole, TakenDocument};
use relay_node::{Limits, RelayNodeConfig};
use shaped_tunnel::Order;
use shaping::RateClass;
use std::sync::Arc;

/// Where the boot message has the length of the document (RFC 6901), and the secrets that belong to it.
const DOCUMENT_BYTES: &str = "/document_bytes";
const ONION_KEYS: &str = "/onion_keys";

/// What an exit's files say, checked against each other.
pub(crate) struct Files {
    pub(crate) document: NetworkDocument,
    onion_keys: OnionKeyFile,
}

/// Reads the files of an exit, and checks that the document has it, as an exit or directory, with its keys.
pub(crate) fn files(exit: &ExitNetwork, keys: &KeyFile) -> Result<Files, Failure> {
    let document = network::document(&exit.file)?;
    let onion_keys = onion_keys_for(exit, keys, &document)?;
    Ok(Files { document, onion_keys })
}

/// The onion secrets as their file has them now, if they and the keys are what a document says of this exit.
fn onion_keys_for(exit: &ExitNetwork, keys: &KeyFile, document: &NetworkDocument) -> Result<OnionKeyFile, Failure> {
    let onion_keys = network::onion_keys(&exit.onion_key_file)?;
    let node = RelayNodeConfig {
        node_id: keys.node_secret.node_id(),
        link_secret: keys.link_secret.clone(),
        door_key: keys.door_key.clone(),
        hops: None,
        bandwidth: None,
        limits: Limits::default(),
    };
    if network::fitting_relay(node, document, &onion_keys)?.is_exit() {
        return Ok(onion_keys);
    }
    let sentence = format!("{} has this node neither as an exit nor as a directory", exit.file.display());
    Err(Failure::new(Code::Configuration, sentence)
        .remedy("describe it with `hushwire network describe --role exit` (or `directory`) and give that to the network's operators"))
}

/// An exit takes documents that have it, with the secrets of their interval.
struct TakesOwn {
    exit: ExitNetwork,
    keys: KeyFile,
}

impl DocumentRole for TakesOwn {
    fn take(&self, document: &NetworkDocument, bytes: usize) -> Result<TakenDocument, String> {
        let onion_keys = onion_keys_for(&self.exit, &self.keys, document).map_err(|failure| failure.line())?;
        let text = onion_keys.reveal().to_string();
        let boot = vec![(DOCUMENT_BYTES, bytes.into()), (ONION_KEYS, text.clone().into())];
        let order = serde_json::to_value(Order::Document { bytes, onion_keys: Some(text) });
        Ok(TakenDocument { order: order.map_err(|error| format!("the order cannot be written: {error}"))?, boot })
    }
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

/// The boot message of its shaped process, and the document that it is given.
pub(super) fn boot(
    config: &Config,
    exit: &ExitNetwork,
    fastest: RateClass,
    keys: &KeyFile,
    queues: Geometry,
) -> Result<(ExitBoot, DocumentPlan), Failure> {
    let Files { document, onion_keys } = files(exit, keys)?;
    let boot = ExitBoot {
        document_bytes: document.encode().len(),
        onion_keys: onion_keys.reveal().to_string(),
        node_secret: keys.node_secret.reveal().to_string(),
        link_secret: keys.link_secret.reveal().to_string(),
        door_key: keys.door_key.reveal().to_string(),
        session_timeout_ms: config.session_timeout.as_millis() as u64,
        tunnels_max: exit.tunnels,
        // A single client then leaves half of the queue pairs to the others.
        flows_per_tunnel: (queues.max_flows() / 2).max(1),
        memory_max: config.queues.memory_max.0,
        slots: slots(config, fastest),
        queues,
        core: config.process.shaped_core.map(usize::from),
        confine: true,
    };
    let role = Arc::new(TakesOwn { exit: exit.clone(), keys: keys.clone() });
    let (file, beside) = (exit.file.clone(), Some(exit.onion_key_file.clone()));
    Ok((boot, DocumentPlan { file, beside, document, role }))
}
