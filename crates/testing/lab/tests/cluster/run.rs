//! What all workers of a run share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nothing that must happen once the cluster is whole takes longer on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Shared {
    pipes: Vec<PathBuf>,
    begun: Instant,
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    /// Offset of the last entry that every follower has to see; all ones while it is not known.
    last: AtomicU64,
}

#[derive(Clone, Debug)]
pub(crate) struct Run(Arc<Shared>);

impl Run {
    pub(crate) fn new(pipes: Vec<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            pipes,
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
        }))
    }

    /// The pipes of all nodes.
    pub(crate) fn pipes(&self) -> &[PathBuf] {
        &self.0.pipes
    }

    /// Time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// Nobody begins anything more; what was begun is brought to its end.
    pub(crate) fn end(&self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::SeqCst)
    }

    /// Counts an answer that says that something was ordered.
    pub(crate) fn count(&self) {
        self.0.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::SeqCst)
    }

    /// Followers end behind this offset.
    pub(crate) fn set_last(&self, offset: u64) {
        self.0.last.store(offset, Ordering::SeqCst);
    }

    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.0.last.load(Ordering::SeqCst)).filter(|last| *last != u64::MAX)
    }
}
