//! Waking the loop from another thread: to end it, or because a name has been resolved.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::counters::Counters;
use crate::status::Status;

/// Reaches a running end from other threads. Clones reach the same one.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bell: OwnedFd,
    stop: AtomicBool,
    counters: Mutex<Counters>,
    /// Somebody wants to know the state.
    asked: AtomicBool,
    status: Mutex<Option<Status>>,
    told: Condvar,
}

impl Handle {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared {
            bell,
            stop: AtomicBool::new(false),
            counters: Mutex::default(),
            asked: AtomicBool::new(false),
            status: Mutex::default(),
            told: Condvar::new(),
        })))
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

    /// What the end does now; `None` if it does not say so within `patience`, because it has ended or is overloaded.
    ///
    /// Of several that ask at a time all get the same answer, or one of them none.
    pub fn status(&self, patience: Duration) -> Option<Status> {
        let mut status = self.0.status.lock().unwrap_or_else(PoisonError::into_inner);
        // What came too late for whoever asked before is old.
        *status = None;
        self.0.asked.store(true, Ordering::Release);
        self.ring();
        let waited = self.0.told.wait_timeout_while(status, patience, |status| status.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Answers whoever waits in [`Handle::status`].
    pub(crate) fn tell(&self, make: impl FnOnce() -> Status) {
        if self.0.asked.swap(false, Ordering::AcqRel) {
            *self.0.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(make());
            self.0.told.notify_all();
        }
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
