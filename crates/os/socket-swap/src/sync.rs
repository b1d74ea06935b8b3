//! The atomics of the protocol between the two ends: those of the standard library, or those that loom watches.

#[cfg(loom)]
pub(crate) use crate::model::fence;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, fence};
