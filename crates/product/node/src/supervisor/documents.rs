//! The network's document: held in sealed memory for each start of the shaped process, and exchanged while it runs.

use std::os::fd::{AsFd, OwnedFd};

use network_document::NetworkDocument;
use os_net::process_channel::ToProcess;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Supervisor;
use crate::documents::{DOCUMENT_LOOK, DocumentPlan, DocumentWatch, Found, TakenDocument};
use crate::error::NodeError;

/// Shows in `/proc/<pid>/fd` of the shaped process.
const NAME: &std::ffi::CStr = c"hushwire-document";

/// The document in force, and where later ones come from.
#[derive(Debug)]
pub(super) struct HeldDocument {
    document: NetworkDocument,
    memory: OwnedFd,
    watch: DocumentWatch,
    look_at: Instant,
    /// An order that the running process has not taken yet.
    unsent: Option<Value>,
    hangup: Signal,
}

impl HeldDocument {
    pub(super) fn new(plan: &DocumentPlan) -> Result<Self, NodeError> {
        let hangup = signal(SignalKind::hangup()).map_err(|source| NodeError::Runtime { source })?;
        Ok(Self {
            memory: shm_ring::seal(NAME, &plan.document.encode())?,
            document: plan.document.clone(),
            watch: DocumentWatch::new(plan.file.clone(), plan.beside.clone()),
            look_at: Instant::now() + DOCUMENT_LOOK,
            unsent: None,
            hangup,
        })
    }

    /// Where the document is, for the shaped process.
    pub(super) fn memory(&self) -> &OwnedFd {
        &self.memory
    }

    /// When the file is looked at next.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }
}

/// Waits for SIGHUP, for ever where there is no document. Cancel-safe: a signal stays noted until it is returned.
pub(super) async fn hung_up(held: &mut Option<HeldDocument>) {
    match held {
        Some(held) => drop(held.hangup.recv().await),
        None => std::future::pending().await,
    }
}

impl Supervisor {
    /// Looks at the file, `anew` whether it has changed or not, and exchanges the document for a later one.
    pub(super) fn look_at_document(&mut self, anew: bool) {
        let Some(held) = &mut self.document else { return };
        held.look_at = Instant::now() + DOCUMENT_LOOK;
        let found = if anew { held.watch.look_again(&held.document) } else { held.watch.look(&held.document) };
        match found {
            Found::Nothing => {}
            Found::Refused(sentence) => refuse(&sentence),
            Found::Later(document) => {
                let file = held.watch.file().display().to_string();
                if let Err(sentence) = self.exchange_document(*document) {
                    refuse(&format!("{file}: {sentence}"));
                }
            }
        }
        self.hand_document_over();
    }

    fn exchange_document(&mut self, document: NetworkDocument) -> Result<(), String> {
        let Some((held, plan)) = self.document.as_mut().zip(self.plan.document.as_ref()) else { return Ok(()) };
        let bytes = document.encode();
        let TakenDocument { order, boot } = plan.role.take(&document, bytes.len())?;
        held.memory = shm_ring::seal(NAME, &bytes).map_err(|error| error.to_string())?;
        for (pointer, value) in boot {
            if !self.plan.shaped.set(pointer, value) {
                tracing::warn!("the boot message has no place for what belongs to a document");
            }
        }
        (held.document, held.unsent) = (document, Some(order));
        tracing::info!(
            interval = held.document.interval().0,
            relays = held.document.relays().len(),
            "a later document of the network is handed over"
        );
        Ok(())
    }

    /// Gives the running process what it has not taken yet. One that starts later gets it at its start.
    fn hand_document_over(&mut self) {
        let Some(held) = &mut self.document else { return };
        let Some((order, child)) = held.unsent.take().zip(self.shaped.child.as_ref()) else { return };
        let message = ToProcess::Order { body: order };
        if let Err(error) = child.send(&message, &[held.memory.as_fd()]) {
            tracing::warn!(%error, "the shaped process does not take the network's document; it is tried again");
            if let ToProcess::Order { body } = message {
                held.unsent = Some(body);
            }
        }
    }

    /// A shaped process was started with the document in force.
    pub(super) fn note_document_handed(&mut self) {
        if let Some(held) = &mut self.document {
            held.unsent = None;
        }
    }
}

fn refuse(sentence: &str) {
    tracing::warn!("a document of the network is refused, the one before stays in force: {sentence}");
}
