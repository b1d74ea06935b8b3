//! Waking the loop from another thread: to end it, or because a name has been resolved.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::counters::Counters;

/// Reaches a running end from other threads. Clones reach the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bell: OwnedFd,
    stop: AtomicBool,
    counters: Mutex<Counters>,
}

impl Handle {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared { bell, stop: AtomicBool::new(false), counters: Mutex::default() })))
    }

    /// Ends the loop after its present turn.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.ring();
    }

    /// What the end has counted, a second old at most while there is traffic.
    pub fn counters(&self) -> Counters {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, counters: &Counters) {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner).clone_from(counters);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    pub(crate) fn ring(&self) {
        // Full means that it rings already.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }

    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.0.bell, &mut [0; 8]);
    }

    pub(crate) fn bell(&self) -> &OwnedFd {
        &self.0.bell
    }
}
