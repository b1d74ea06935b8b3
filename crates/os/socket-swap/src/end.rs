//! A connection of the program's as the protocol sees it.

use crate::link::Link;
use crate::table::Reference;
use crate::{cancel, relay, rendezvous};
use std::sync::atomic::Ordering;
use swap_link::End;

impl End for Reference {
    fn link(&self) -> Option<&Link> {
        (**self).link()
    }

    fn descriptor(&self, fd: i32) -> i32 {
        (**self).descriptor(fd)
    }

    fn is_nonblocking(&self, ask: impl FnOnce() -> bool) -> bool {
        self.flags.is_nonblocking(ask)
    }

    fn count_received(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&self, link: &Link) {
        rendezvous::settle(self, link);
    }

    fn bar(&self) {
        self.barred.store(true, Ordering::SeqCst);
    }

    fn during<T>(&self, is_asleep: bool, call: impl FnOnce() -> T) -> T {
        cancel::during(self, is_asleep, call)
    }

    fn uncancelled<T>(&self, call: impl FnOnce() -> T) -> T {
        cancel::never(call)
    }

    fn relay(&self, link: &Link, fd: i32) -> bool {
        relay::begin(self, link, fd)
    }
}
