//! What the protocol asks of whoever holds an end.

use crate::link::Link;

/// An end of a connection, as the protocol sees its holder: the preloaded library in a program that knows nothing, or a
/// program that speaks the protocol itself ([`crate::NativeEnd`]).
pub trait End {
    /// The link, if there is one.
    fn link(&self) -> Option<&Link>;

    /// The descriptor to use in a call that was made on `fd`.
    fn descriptor(&self, fd: i32) -> i32;

    /// Whether the open file is non-blocking; `ask` asks the kernel.
    fn is_nonblocking(&self, ask: impl FnOnce() -> bool) -> bool;

    /// A call received data from the socket.
    fn count_received(&self);

    /// Before a call on a linked connection: tells the other side that it may use its ring, once that is so.
    fn settle(&self, link: &Link);

    /// Something happened that rings cannot follow, so no direction may turn to its ring any more.
    fn bar(&self);

    /// Makes a call in which libc may cancel the calling thread, which counts as asleep if `is_asleep`.
    fn during<T>(&self, is_asleep: bool, call: impl FnOnce() -> T) -> T;

    /// Makes a call in which nobody is cancelled. It does not wait.
    fn uncancelled<T>(&self, call: impl FnOnce() -> T) -> T;

    /// Has others carry the bytes from now on, because the other side could not give back what is unread. `false`: that
    /// cannot be done, and nothing was changed.
    fn relay(&self, link: &Link, fd: i32) -> bool;
}
