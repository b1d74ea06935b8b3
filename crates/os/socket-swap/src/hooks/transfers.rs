//! Reading and writing.

use super::{give, hooks};
use crate::buffers::{Buffers, part};
use crate::link::Link;
use crate::receive::{self, Moved, Receiving};
use crate::send::{self, Sending};
use crate::table::{self, Reference};
use crate::{cancel, readiness, real, rendezvous};
use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, sockaddr, socklen_t, ssize_t};

/// Bytes that one step of an emulated `splice` moves.
const SPLICE_BYTES: usize = 4096;

/// Receives, by the ring or by `plain`, which takes the descriptor and the flags to add.
pub(super) fn receiving(
    found: &Reference,
    fd: c_int,
    buffers: Buffers<'_>,
    flags: c_int,
    plain: impl FnMut(c_int, c_int) -> ssize_t,
) -> ssize_t {
    receiving_all(found, Receiving { fd, buffers, flags, with_control: false }, plain)
}

/// The same for any call.
pub(super) fn receiving_all(
    found: &Reference,
    call: Receiving<'_>,
    mut plain: impl FnMut(c_int, c_int) -> ssize_t,
) -> ssize_t {
    let fd = call.fd;
    let mut kernel = |fd: c_int, more: c_int| real::outcome(plain(fd, more));
    let moved = match found.link() {
        // Urgent bytes are in the socket or nowhere.
        Some(_) if call.flags & libc::MSG_OOB != 0 => cancel::during(found, false, || kernel(fd, 0)),
        Some(link) => receive::receive(found, link, &call, &mut kernel),
        None => counted(found, fd, true, cancel::during(found, false, || kernel(fd, 0))),
    };
    give(moved)
}

/// Where the sender's name goes, and how much room there is.
#[derive(Clone, Copy)]
pub(super) struct NameRoom {
    pub(super) at: *mut c_void,
    pub(super) bytes: socklen_t,
}

/// Writes the name of who sent what a ring brought: the other end's, if it is bound. Returns its full length.
///
/// # Safety
/// `room` is null or as long as it says.
pub(super) unsafe fn sender_name(fd: c_int, room: NameRoom) -> socklen_t {
    // SAFETY: zeros are an address, which the call fills; no more is copied than there is room for.
    unsafe {
        let mut name: libc::sockaddr_un = std::mem::zeroed();
        let mut length = size_of::<libc::sockaddr_un>() as socklen_t;
        let asked = libc::getpeername(fd, std::ptr::from_mut(&mut name).cast(), &mut length);
        let is_bound = asked == 0 && length as usize > size_of::<libc::sa_family_t>();
        if !is_bound || room.at.is_null() {
            return 0;
        }
        let copied = (length.min(room.bytes) as usize).min(size_of::<libc::sockaddr_un>());
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(&name).cast::<u8>(), room.at.cast::<u8>(), copied);
        length
    }
}

/// Sends, by the ring or by `plain`.
pub(super) fn sending(
    found: &Reference,
    fd: c_int,
    buffers: Buffers<'_>,
    flags: c_int,
    mut plain: impl FnMut() -> ssize_t,
) -> ssize_t {
    let mut kernel = || real::outcome(plain());
    let moved = match found.link() {
        Some(_) if flags & libc::MSG_OOB != 0 => {
            table::go_plain(found, fd);
            cancel::during(found, false, kernel)
        }
        Some(link) => send::send(found, link, &Sending { fd, buffers, flags }, &mut kernel),
        None => counted(found, fd, false, cancel::during(found, false, kernel)),
    };
    give(moved)
}

/// Sends what only the socket can carry.
pub(super) fn sending_plain(found: &Reference, fd: c_int, mut plain: impl FnMut() -> ssize_t) -> ssize_t {
    let mut kernel = || real::outcome(plain());
    give(match found.link() {
        Some(link) => send::send_through_socket(found, link, fd, &mut kernel),
        None => counted(found, fd, false, cancel::during(found, false, kernel)),
    })
}

fn counted(found: &Reference, fd: c_int, received: bool, moved: Moved) -> Moved {
    if matches!(moved, Ok(1..)) {
        rendezvous::count(found, fd, received);
    }
    moved
}

hooks! {
    fn read(fd: c_int, to: *mut c_void, count: size_t) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { if count > 0 && table::has(fd) { read_ours(fd, to, count) } else { real::read(fd, to, count) } }
    }

    fn __read_chk(fd: c_int, to: *mut c_void, count: size_t, _room: size_t) -> ssize_t {
        // SAFETY: the program's call. A buffer that is too small is the program's error, which libc would end.
        unsafe { read(fd, to, count) }
    }

    fn recv(fd: c_int, to: *mut c_void, count: size_t, flags: c_int) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { if table::has(fd) { recv_ours(fd, to, count, flags) } else { real::recv(fd, to, count, flags) } }
    }

    fn __recv_chk(fd: c_int, to: *mut c_void, count: size_t, _room: size_t, flags: c_int) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { recv(fd, to, count, flags) }
    }

    fn recvfrom(fd: c_int, to: *mut c_void, count: size_t, flags: c_int, name: *mut sockaddr, length: *mut socklen_t) -> ssize_t {
        let Some(found) = table::find(fd) else {
            // SAFETY: the program's call.
            return unsafe { real::recvfrom(fd, to, count, flags, name, length) };
        };
        let mut was_named = false;
        let parts = [part(to, count)];
        // SAFETY: the program's buffer.
        let buffers = unsafe { Buffers::new(&parts) };
        let moved = receiving(&found, fd, buffers, flags, |fd, more| {
            // SAFETY: the program's call.
            let moved = unsafe { real::recvfrom(fd, to, count, flags | more, name, length) };
            was_named |= moved >= 0;
            moved
        });
        if moved >= 0 && !was_named && !name.is_null() && !length.is_null() {
            // SAFETY: the program passed room for a name of this length.
            unsafe {
                *length = if moved == 0 { 0 } else { sender_name(fd, NameRoom { at: name.cast(), bytes: *length }) };
            }
        }
        moved
    }

    fn __recvfrom_chk(fd: c_int, to: *mut c_void, count: size_t, _room: size_t, flags: c_int, name: *mut sockaddr, length: *mut socklen_t) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { recvfrom(fd, to, count, flags, name, length) }
    }

    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        let Some(found) = table::find(fd) else {
            // SAFETY: the program's call.
            return unsafe { real::readv(fd, parts, count) };
        };
        // SAFETY: the program's parts.
        let buffers = unsafe { Buffers::from_raw(parts, count.max(0) as usize) };
        let (Some(buffers), true) = (buffers.filter(|buffers| !buffers.is_empty()), count >= 0) else {
            // SAFETY: the program's call, which the kernel will refuse, or which moves nothing.
            return unsafe { real::readv(fd, parts, count) };
        };
        receiving(&found, fd, buffers, 0, |fd, more| {
            if more == 0 {
                // SAFETY: the program's call.
                return unsafe { real::readv(fd, parts, count) };
            }
            // SAFETY: zeros are an empty message, into which the program's parts are put.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = parts.cast_mut();
                message.msg_iovlen = count as usize;
                real::recvmsg(fd, &mut message, more)
            }
        })
    }

    fn preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        if table::has(fd) {
            table::leave(fd);
        }
        // SAFETY: the program's call.
        unsafe { real::preadv2(fd, parts, count, offset, flags) }
    }

    fn pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t {
        if table::has(fd) {
            table::leave(fd);
        }
        // SAFETY: the program's call.
        unsafe { real::pwritev2(fd, parts, count, offset, flags) }
    }

    fn write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { if table::has(fd) { write_ours(fd, from, count) } else { real::write(fd, from, count) } }
    }

    fn send(fd: c_int, from: *const c_void, count: size_t, flags: c_int) -> ssize_t {
        // SAFETY: the program's call.
        unsafe { if table::has(fd) { send_ours(fd, from, count, flags) } else { real::send(fd, from, count, flags) } }
    }

    fn sendto(fd: c_int, from: *const c_void, count: size_t, flags: c_int, name: *const sockaddr, length: socklen_t) -> ssize_t {
        let Some(found) = table::find(fd) else {
            // SAFETY: the program's call.
            return unsafe { real::sendto(fd, from, count, flags, name, length) };
        };
        // SAFETY: the program's call.
        let plain = || unsafe { real::sendto(fd, from, count, flags, name, length) };
        if !name.is_null() {
            return sending_plain(&found, fd, plain);
        }
        let parts = [part(from, count)];
        // SAFETY: the program's buffer.
        let buffers = unsafe { Buffers::new(&parts) };
        sending(&found, fd, buffers, flags, plain)
    }

    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        let Some(found) = table::find(fd) else {
            // SAFETY: the program's call.
            return unsafe { real::writev(fd, parts, count) };
        };
        // SAFETY: the program's call.
        let plain = || unsafe { real::writev(fd, parts, count) };
        // SAFETY: the program's parts.
        let buffers = unsafe { Buffers::from_raw(parts, count.max(0) as usize) };
        let (Some(buffers), true) = (buffers, count >= 0) else { return plain() };
        sending(&found, fd, buffers, 0, plain)
    }

    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
        // SAFETY: the program's call.
        let plain = || unsafe { real::sendfile(to, from, offset, count) };
        if let Some(found) = table::find(to) {
            return sending_plain(&found, to, plain);
        }
        from_connection(from, to, offset.is_null() && count > 0, 0, count, plain)
    }

    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
        // SAFETY: the program's call; the two are one on 64-bit systems.
        unsafe { sendfile(to, from, offset, count) }
    }

    fn splice(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint) -> ssize_t {
        // SAFETY: the program's call.
        let plain = || unsafe { real::splice(from, from_at, to, to_at, count, flags) };
        if let Some(found) = table::find(to) {
            return sending_plain(&found, to, plain);
        }
        from_connection(from, to, from_at.is_null() && to_at.is_null() && count > 0, flags, count, plain)
    }
}

// The most frequent calls on descriptors that are mostly not ours: apart, so that those pay for a look into the table only and
// not for the stack of the rest.

/// # Safety
/// As for `read`.
#[inline(never)]
unsafe fn read_ours(fd: c_int, to: *mut c_void, count: size_t) -> ssize_t {
    let Some(found) = table::find(fd) else {
        // SAFETY: the program's call.
        return unsafe { real::read(fd, to, count) };
    };
    let parts = [part(to, count)];
    // SAFETY: the program's buffer.
    let buffers = unsafe { Buffers::new(&parts) };
    receiving(&found, fd, buffers, 0, |fd, more| {
        // SAFETY: the program's call, as one that takes flags.
        unsafe { if more == 0 { real::read(fd, to, count) } else { real::recv(fd, to, count, more) } }
    })
}

/// # Safety
/// As for `recv`.
#[inline(never)]
unsafe fn recv_ours(fd: c_int, to: *mut c_void, count: size_t, flags: c_int) -> ssize_t {
    let Some(found) = table::find(fd) else {
        // SAFETY: the program's call.
        return unsafe { real::recv(fd, to, count, flags) };
    };
    let parts = [part(to, count)];
    // SAFETY: the program's buffer.
    let buffers = unsafe { Buffers::new(&parts) };
    receiving(&found, fd, buffers, flags, |fd, more| {
        // SAFETY: the program's call.
        unsafe { real::recv(fd, to, count, flags | more) }
    })
}

/// # Safety
/// As for `write`.
#[inline(never)]
unsafe fn write_ours(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
    let Some(found) = table::find(fd) else {
        // SAFETY: the program's call.
        return unsafe { real::write(fd, from, count) };
    };
    let parts = [part(from, count)];
    // SAFETY: the program's buffer.
    let buffers = unsafe { Buffers::new(&parts) };
    sending(&found, fd, buffers, 0, || {
        // SAFETY: the program's call.
        unsafe { real::write(fd, from, count) }
    })
}

/// # Safety
/// As for `send`.
#[inline(never)]
unsafe fn send_ours(fd: c_int, from: *const c_void, count: size_t, flags: c_int) -> ssize_t {
    let Some(found) = table::find(fd) else {
        // SAFETY: the program's call.
        return unsafe { real::send(fd, from, count, flags) };
    };
    let parts = [part(from, count)];
    // SAFETY: the program's buffer.
    let buffers = unsafe { Buffers::new(&parts) };
    sending(&found, fd, buffers, flags, || {
        // SAFETY: the program's call.
        unsafe { real::send(fd, from, count, flags) }
    })
}

/// `splice` and `sendfile` out of what may be a linked connection. `is_valid`: the kernel would not refuse the arguments.
fn from_connection(
    from: c_int,
    to: c_int,
    is_valid: bool,
    flags: c_uint,
    count: usize,
    plain: impl Fn() -> ssize_t,
) -> ssize_t {
    match table::find(from) {
        Some(found) if is_valid && is_pipe(to) => match found.link() {
            Some(link) => splice_out(&found, link, from, to, count, flags),
            None => plain(),
        },
        _ => plain(),
    }
}

/// Nothing else takes what comes out of a socket.
fn is_pipe(fd: c_int) -> bool {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &mut about) == 0 && about.st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

/// From a linked connection into a pipe. What the pipe does not take stays where it was.
fn splice_out(found: &Reference, link: &Link, from: c_int, to: c_int, count: usize, flags: c_uint) -> ssize_t {
    let mut bytes = [0u8; SPLICE_BYTES];
    let count = count.min(SPLICE_BYTES);
    let no_wait = if flags & libc::SPLICE_F_NONBLOCK != 0 { libc::MSG_DONTWAIT } else { 0 };
    let at = bytes.as_mut_ptr().cast::<c_void>();
    let look = |flags: c_int, count: usize| {
        let parts = [part(at, count)];
        // SAFETY: the buffer is ours and at least as long.
        let buffers = unsafe { Buffers::new(&parts) };
        let call = Receiving { fd: from, buffers, flags, with_control: false };
        receive::receive(found, link, &call, &mut |from, more| {
            // SAFETY: the buffer is ours and as long as said.
            real::outcome(unsafe { real::recv(from, at, count, flags | more) })
        })
    };
    let seen = match look(libc::MSG_PEEK | no_wait, count) {
        Ok(seen) if seen > 0 => seen,
        other => return give(other),
    };
    if no_wait != 0 && readiness::kernel_events(to, libc::POLLOUT) & libc::POLLOUT == 0 {
        return give(Err(libc::EAGAIN));
    }
    // SAFETY: the buffer holds that many bytes.
    let written = match real::outcome(unsafe { real::write(to, at, seen) }) {
        Ok(written) => written,
        error => return give(error),
    };
    give(look(libc::MSG_DONTWAIT, written))
}
