//! Reaching the loop from another thread.

use crate::counters::Snapshot;
use network_document::{NetworkDocument, OnionKeyFile};
use relay_node::NeighbourFigures;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Neighbours that a relay tells of at most.
pub const NEIGHBOURS_SHOWN_MAX: usize = 256;

/// Reaches a running relay. Clones reach the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    bell: OwnedFd,
    stop: AtomicBool,
    now: AtomicBool,
    snapshot: Mutex<Snapshot>,
    neighbours: Mutex<Vec<NeighbourFigures>>,
    /// What is to be gone by next. A newer one takes its place.
    document: Mutex<Option<(NetworkDocument, OnionKeyFile)>>,
}

impl Handle {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (stop, now) = (AtomicBool::new(false), AtomicBool::new(false));
        let (snapshot, neighbours, document) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { bell, stop, now, snapshot, neighbours, document })))
    }

    /// Stops the relay gently: new circuits are refused, those that are left after its time for that are ended. Called
    /// a second time, it does not wait for them any more.
    pub fn stop(&self) {
        if self.0.stop.swap(true, Ordering::AcqRel) {
            self.0.now.store(true, Ordering::Release);
        }
        self.ring();
    }

    /// Lets the relay go by a later document of its network, with the secrets of its interval. What does not fit the relay, or is
    /// not later, is refused there with a line in the log.
    pub fn set_document(&self, document: NetworkDocument, onion_keys: OnionKeyFile) {
        *self.0.document.lock().unwrap_or_else(PoisonError::into_inner) = Some((document, onion_keys));
        self.ring();
    }

    pub(crate) fn take_document(&self) -> Option<(NetworkDocument, OnionKeyFile)> {
        self.0.document.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn ring(&self) {
        // Full means that it rings already.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }

    /// What the relay does, a second old at most.
    pub fn snapshot(&self) -> Snapshot {
        *self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relays at the other ends of its links, a second old at most and [`NEIGHBOURS_SHOWN_MAX`] of them.
    pub fn neighbours(&self) -> Vec<NeighbourFigures> {
        self.0.neighbours.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, snapshot: Snapshot, neighbours: Vec<NeighbourFigures>) {
        *self.0.neighbours.lock().unwrap_or_else(PoisonError::into_inner) = neighbours;
        *self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping_now(&self) -> bool {
        self.0.now.load(Ordering::Acquire)
    }

    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.0.bell, &mut [0; 8]);
    }

    pub(crate) fn bell(&self) -> &OwnedFd {
        &self.0.bell
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stop", &self.stop).finish_non_exhaustive()
    }
}
