//! Threads that are cancelled in a call (`pthread_cancel`).
//!
//! libc ends such a thread inside its own blocking calls and unwinds it through our frames. Where panics unwind, values are
//! dropped on the way. Where they abort, the frames are passed over, so what must be let go is registered with libc for as
//! long as a call may be cancelled. Calls of ours that must not be torn are made as bare system calls, in which libc cancels
//! nobody.

use crate::connection::Connection;
use libc::c_int;

/// libc's `PTHREAD_CANCEL_DISABLE`.
const DISABLE: c_int = 1;

// SAFETY: libc's declaration.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// A call in which nobody is cancelled. It does not wait.
pub(crate) fn never<T>(call: impl FnOnce() -> T) -> T {
    let mut before = 0;
    // SAFETY: writes one int.
    unsafe { pthread_setcancelstate(DISABLE, &mut before) };
    let result = call();
    // SAFETY: restores what was.
    unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
    result
}

/// A call that may be cancelled and holds a connection.
#[cfg(panic = "unwind")]
pub(crate) fn during<T>(_connection: &Connection, _is_asleep: bool, call: impl FnOnce() -> T) -> T {
    call()
}

/// A call that may be cancelled and holds a connection.
#[cfg(not(panic = "unwind"))]
pub(crate) fn during<T>(connection: &Connection, is_asleep: bool, call: impl FnOnce() -> T) -> T {
    let holding = Holding { connection, is_asleep };
    let mut entry = std::mem::MaybeUninit::<Entry>::uninit();
    // SAFETY: the entry stays where it is until it is popped or, when the thread is cancelled, was used; so does what it
    // refers to.
    unsafe {
        _pthread_cleanup_push(entry.as_mut_ptr(), let_go, std::ptr::from_ref(&holding).cast_mut().cast());
    }
    let result = call();
    // SAFETY: the entry that was pushed last.
    unsafe { _pthread_cleanup_pop(entry.as_mut_ptr(), 0) };
    result
}

#[cfg(not(panic = "unwind"))]
struct Holding<'a> {
    connection: &'a Connection,
    is_asleep: bool,
}

/// libc's `struct _pthread_cleanup_buffer`.
#[cfg(not(panic = "unwind"))]
#[repr(C)]
struct Entry {
    routine: unsafe extern "C" fn(*mut libc::c_void),
    argument: *mut libc::c_void,
    cancel_type: libc::c_int,
    before: *mut Entry,
}

#[cfg(not(panic = "unwind"))]
// SAFETY: libc's declarations.
unsafe extern "C" {
    fn _pthread_cleanup_push(
        entry: *mut Entry,
        routine: unsafe extern "C" fn(*mut libc::c_void),
        argument: *mut libc::c_void,
    );
    fn _pthread_cleanup_pop(entry: *mut Entry, execute: libc::c_int);
}

/// # Safety
/// The argument is one that [`during`] registered.
#[cfg(not(panic = "unwind"))]
unsafe extern "C" fn let_go(argument: *mut libc::c_void) {
    // SAFETY: the argument that was pushed, in a frame that still stands.
    let holding = unsafe { &*argument.cast::<Holding<'_>>() };
    if holding.is_asleep {
        crate::readiness::forget_sleeper();
    }
    holding.connection.release();
}
