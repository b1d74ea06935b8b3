//! A connection with a link.

use crate::link::Link;
use std::sync::atomic::{AtomicBool, AtomicU32};

pub(crate) struct Reference {
    pub(crate) link: Link,
    pub(crate) reads: AtomicU32,
    pub(crate) barred: AtomicBool,
    pub(crate) flags: Flags,
}

/// Everything blocks.
pub(crate) struct Flags;

impl Flags {
    pub(crate) fn is_nonblocking(&self, ask: impl FnOnce() -> bool) -> bool {
        ask()
    }
}

impl Reference {
    pub(crate) fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    pub(crate) fn descriptor(&self, fd: i32) -> i32 {
        fd
    }
}
