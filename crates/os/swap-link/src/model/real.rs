//! The calls of the kernel that the protocol makes, on a socket whose buffer is never full.

use super::KERNEL;
use libc::{c_int, c_void, pollfd, size_t, socklen_t, ssize_t};
use std::sync::atomic::Ordering;

fn fail(error: c_int) -> ssize_t {
    KERNEL.error.store(error, Ordering::Relaxed);
    -1
}

pub(crate) fn outcome(value: ssize_t) -> Result<usize, c_int> {
    usize::try_from(value).map_err(|_| KERNEL.error.load(Ordering::Relaxed))
}

/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn send(fd: c_int, from: *const c_void, count: size_t, _flags: c_int) -> ssize_t {
    // SAFETY: the caller's bytes.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count) };
    KERNEL.queues.lock().expect("no panic before")[1 - fd as usize].extend(bytes);
    KERNEL.arrived.notify_all();
    count as ssize_t
}

/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn recv(fd: c_int, to: *mut c_void, count: size_t, flags: c_int) -> ssize_t {
    let mut queues = KERNEL.queues.lock().expect("no panic before");
    while queues[fd as usize].is_empty() {
        if flags & libc::MSG_DONTWAIT != 0 {
            return fail(libc::EAGAIN);
        }
        queues = KERNEL.arrived.wait(queues).expect("no panic before");
    }
    let queue = &mut queues[fd as usize];
    let count = count.min(queue.len());
    for place in 0..count {
        // SAFETY: the caller has room for them.
        unsafe { to.cast::<u8>().add(place).write(queue[place]) };
    }
    if flags & libc::MSG_PEEK == 0 {
        queue.drain(..count);
    }
    count as ssize_t
}

pub(crate) use recv as recv_uncancelled;
pub(crate) use send as send_uncancelled;

/// # Safety
/// The entry is valid.
pub(crate) unsafe fn look(entry: *mut pollfd) -> c_int {
    // SAFETY: the caller's entry.
    unsafe { poll(entry, 1, 0) }
}

/// Never waits: the protocol only looks.
///
/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn poll(entry: *mut pollfd, _count: libc::nfds_t, _limit: c_int) -> c_int {
    // SAFETY: the caller's entry.
    let entry = unsafe { &mut *entry };
    let is_readable = !KERNEL.queues.lock().expect("no panic before")[entry.fd as usize].is_empty();
    entry.revents = entry.events & (libc::POLLOUT | if is_readable { libc::POLLIN } else { 0 });
    c_int::from(entry.revents != 0)
}

/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn ioctl(fd: c_int, request: libc::c_ulong, argument: usize) -> c_int {
    let queues = KERNEL.queues.lock().expect("no panic before");
    let side = if request == libc::TIOCOUTQ { 1 - fd as usize } else { fd as usize };
    // SAFETY: both requests write one int.
    unsafe { *(argument as *mut c_int) = queues[side].len() as c_int };
    0
}

/// Blocking.
///
/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn fcntl(_fd: c_int, _command: c_int, _argument: usize) -> c_int {
    0
}

/// No time limits.
///
/// # Safety
/// As for the call of libc of this name.
pub(crate) unsafe fn getsockopt(
    _fd: c_int,
    _level: c_int,
    _name: c_int,
    _value: *mut c_void,
    _length: *mut socklen_t,
) -> c_int {
    -1
}
