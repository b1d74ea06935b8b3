//! Reaching the loop from another thread.

use crate::counters::Snapshot;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Reaches a running relay. Clones reach the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bell: OwnedFd,
    stop: AtomicBool,
    now: AtomicBool,
    snapshot: Mutex<Snapshot>,
}

impl Handle {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (stop, now, snapshot) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        Ok(Self(Arc::new(Shared { bell, stop, now, snapshot })))
    }

    /// Stops the relay gently: new circuits are refused, those that are left after its time for that are ended. Called
    /// a second time, it does not wait for them any more.
    pub fn stop(&self) {
        if self.0.stop.swap(true, Ordering::AcqRel) {
            self.0.now.store(true, Ordering::Release);
        }
        // Full means that it rings already.
        let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
    }

    /// What the relay does, a second old at most.
    pub fn snapshot(&self) -> Snapshot {
        *self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
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
