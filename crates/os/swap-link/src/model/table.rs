//! A connection with a link.

use crate::end::End;
use crate::link::Link;

pub(crate) struct Reference {
    pub(crate) link: Link,
}

/// The link is settled from the beginning, everything blocks, nobody is cancelled, and the other side always gives back.
impl End for Reference {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn descriptor(&self, fd: i32) -> i32 {
        fd
    }

    fn is_nonblocking(&self, ask: impl FnOnce() -> bool) -> bool {
        ask()
    }

    fn count_received(&self) {}

    fn settle(&self, _link: &Link) {}

    fn bar(&self) {}

    fn during<T>(&self, _is_asleep: bool, call: impl FnOnce() -> T) -> T {
        call()
    }

    fn uncancelled<T>(&self, call: impl FnOnce() -> T) -> T {
        call()
    }

    fn relay(&self, _link: &Link, _fd: i32) -> bool {
        false
    }
}
