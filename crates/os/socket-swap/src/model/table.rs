//! A connection with a link.

use crate::link::Link;
use std::sync::atomic::{AtomicBool, AtomicU32};

pub(crate) struct Reference {
    pub(crate) link: Link,
    pub(crate) reads: AtomicU32,
    pub(crate) barred: AtomicBool,
}

impl Reference {
    pub(crate) fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    pub(crate) fn descriptor(&self, fd: i32) -> i32 {
        fd
    }
}
