//! The calls of libc that this library stands in front of.
//!
//! Each hook costs one load for a descriptor that is not ours and then goes on to the real call. A thread that is cancelled
//! in such a call unwinds through the hook, which lets go of what it holds.

mod descriptors;
mod messages;
mod names;
mod processes;
mod transfers;
mod waiting;
mod waiting_sets;

/// Exports functions under the names of libc's.
#[cfg(panic = "unwind")]
macro_rules! hooks {
    ($($(#[$note:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $result:ty $body:block)*) => {$(
        $(#[$note])*
        /// # Safety
        /// As for the call of libc of this name.
        #[allow(clippy::too_many_arguments, reason = "libc decides")]
        #[cfg_attr(not(any(test, fuzzing)), unsafe(no_mangle))]
        pub(super) unsafe extern "C-unwind" fn $name($($argument: $kind),*) -> $result $body
    )*};
}
/// The same, with the other kind of edge (see `real.rs`).
#[cfg(not(panic = "unwind"))]
macro_rules! hooks {
    ($($(#[$note:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $result:ty $body:block)*) => {$(
        $(#[$note])*
        /// # Safety
        /// As for the call of libc of this name.
        #[allow(clippy::too_many_arguments, reason = "libc decides")]
        #[cfg_attr(not(any(test, fuzzing)), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($argument: $kind),*) -> $result $body
    )*};
}
pub(super) use hooks;
#[cfg(not(any(test, fuzzing)))]
pub(crate) use processes::watch_forks;

/// A result as libc gives it: -1 and `errno` for an error.
pub(super) fn give(moved: Result<usize, libc::c_int>) -> libc::ssize_t {
    match moved {
        Ok(count) => count as libc::ssize_t,
        Err(error) => {
            crate::real::set_errno(error);
            -1
        }
    }
}
