//! Making, copying and closing descriptors, and their options.

use super::{give, hooks};
use crate::{epoll, plain, readiness, real, reserved, selection, table};
use libc::{c_char, c_int, c_uint, c_ulong, c_void, sa_family_t, sockaddr, sockaddr_un, socklen_t};

/// Follows a connected socket, if it is of the right kind and wanted.
fn follow(fd: c_int, path_of: unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int) {
    let errno = real::errno();
    // SAFETY: zeros are an address.
    let mut address: sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of::<sockaddr_un>() as socklen_t;
    // SAFETY: the address lives here and is as long as said.
    let asked = unsafe { path_of(fd, std::ptr::from_mut(&mut address).cast(), &mut length) };
    if asked == 0 && address.sun_family == libc::AF_UNIX as sa_family_t && is_stream(fd) {
        let head = std::mem::offset_of!(sockaddr_un, sun_path);
        let count = (length as usize).saturating_sub(head).min(address.sun_path.len());
        let mut path = [0u8; 108];
        for (to, from) in path.iter_mut().zip(&address.sun_path[..count]) {
            *to = *from as u8;
        }
        // An abstract name begins with a zero byte, which is written as `@`; a path ends with one.
        let end = path[1..].iter().position(|byte| *byte == 0).map_or(path.len(), |at| at + 1);
        let wanted = match (count, path[0]) {
            (0, _) => false,
            (_, 0) => {
                path[0] = b'@';
                selection::wants(&path[..count])
            }
            _ => selection::wants(&path[..end.min(count)]),
        };
        if wanted {
            table::follow(fd);
        }
    }
    real::set_errno(errno);
}

fn is_stream(fd: c_int) -> bool {
    let mut kind: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: the option writes one int.
    let asked = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, std::ptr::from_mut(&mut kind).cast(), &mut length)
    };
    asked == 0 && kind == libc::SOCK_STREAM
}

/// A new descriptor: whatever was known of its number is out of date.
fn fresh(fd: c_int) -> c_int {
    if fd >= 0 {
        table::forget_stale(fd);
    }
    fd
}

hooks! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        // SAFETY: the program's call.
        fresh(unsafe { real::socket(domain, kind, protocol) })
    }

    fn socketpair(domain: c_int, kind: c_int, protocol: c_int, ends: *mut c_int) -> c_int {
        // SAFETY: the program's call.
        let made = unsafe { real::socketpair(domain, kind, protocol, ends) };
        if made == 0 {
            // SAFETY: the call has filled both.
            unsafe {
                fresh(*ends);
                fresh(*ends.add(1));
            }
        }
        made
    }

    fn accept(fd: c_int, name: *mut sockaddr, length: *mut socklen_t) -> c_int {
        // SAFETY: the program's call.
        let accepted = fresh(unsafe { real::accept(fd, name, length) });
        if accepted >= 0 {
            follow(accepted, libc::getsockname);
        }
        accepted
    }

    fn accept4(fd: c_int, name: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
        // SAFETY: the program's call.
        let accepted = fresh(unsafe { real::accept4(fd, name, length, flags) });
        if accepted >= 0 {
            follow(accepted, libc::getsockname);
        }
        accepted
    }

    fn connect(fd: c_int, name: *const sockaddr, length: socklen_t) -> c_int {
        // SAFETY: the program's call.
        let connected = unsafe { real::connect(fd, name, length) };
        if connected == 0 && !table::has(fd) {
            follow(fd, libc::getpeername);
        }
        connected
    }

    fn close(fd: c_int) -> c_int {
        table::closing(fd);
        // SAFETY: the program's call.
        unsafe { real::close(fd) }
    }

    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        if flags == 0 {
            closing_range(first, last);
        } else if flags & libc::CLOSE_RANGE_UNSHARE as c_int != 0 {
            leave_range(first, last);
        }
        // SAFETY: the program's call.
        unsafe { real::close_range(first, last, flags) }
    }

    fn closefrom(first: c_int) -> () {
        closing_range(first.max(0).unsigned_abs(), c_uint::MAX);
        // SAFETY: the program's call.
        unsafe { real::closefrom(first) }
    }

    fn dup(fd: c_int) -> c_int {
        // SAFETY: the program's call.
        let copy = unsafe { real::dup(fd) };
        copied(fd, copy);
        copy
    }

    fn dup2(fd: c_int, to: c_int) -> c_int {
        before_copy(fd, to);
        // SAFETY: the program's call.
        let copy = unsafe { real::dup2(fd, to) };
        if fd != to {
            copied(fd, copy);
        }
        copy
    }

    fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
        before_copy(fd, to);
        // SAFETY: the program's call.
        let copy = unsafe { real::dup3(fd, to, flags) };
        copied(fd, copy);
        copy
    }

    fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
        if command == libc::F_SETFL && argument as c_int & libc::O_ASYNC != 0 {
            table::leave(fd);
        }
        // SAFETY: the program's call. A command without an argument ignores what stands in its register.
        let answer = unsafe { real::fcntl(fd, command, argument) };
        if command == libc::F_SETFL {
            table::forget_flags(fd);
        }
        if command == libc::F_DUPFD || command == libc::F_DUPFD_CLOEXEC {
            copied(fd, answer);
        }
        answer
    }

    fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
        // SAFETY: the program's call; the two are one on 64-bit systems.
        unsafe { fcntl(fd, command, argument) }
    }

    fn ioctl(fd: c_int, request: c_ulong, argument: usize) -> c_int {
        if let Some(found) = table::find(fd)
            && let Some(link) = found.link()
        {
            match request {
                libc::FIONREAD if argument != 0 => {
                    return match readiness::unread_in_all(link, fd) {
                        Ok(count) => {
                            // SAFETY: the request writes one int where the program says.
                            unsafe { (argument as *mut c_int).write_unaligned(count as c_int) };
                            0
                        }
                        Err(_) => give(Err(libc::ECONNRESET)) as c_int,
                    };
                }
                libc::TIOCOUTQ | libc::FIOASYNC => table::go_plain(&found, fd),
                _ => {}
            }
        }
        // SAFETY: the program's call.
        let answer = unsafe { real::ioctl(fd, request, argument) };
        if request == libc::FIONBIO {
            table::forget_flags(fd);
        }
        answer
    }

    fn shutdown(fd: c_int, how: c_int) -> c_int {
        if let Some(found) = table::find(fd)
            && let Some(link) = found.link()
        {
            plain::shutting_down(link, how);
        }
        // SAFETY: the program's call.
        unsafe { real::shutdown(fd, how) }
    }

    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int {
        // What changes what a read returns, or when a socket counts as readable.
        let changes_reading = matches!(name, libc::SO_PASSCRED | libc::SO_PASSSEC | libc::SO_PEEK_OFF | libc::SO_RCVLOWAT);
        if level == libc::SOL_SOCKET && changes_reading {
            table::leave(fd);
        }
        // SAFETY: the program's call.
        unsafe { real::setsockopt(fd, level, name, value, length) }
    }

    fn fdopen(fd: c_int, kind: *const c_char) -> *mut c_void {
        // A stream of stdio reads and writes where nobody stands in front of it.
        table::leave(fd);
        // SAFETY: the program's call.
        unsafe { real::fdopen(fd, kind) }
    }
}

fn before_copy(from: c_int, to: c_int) {
    if from == to {
        return;
    }
    if table::is_outside(to) {
        table::leave(from);
    }
    table::closing(to);
}

fn copied(from: c_int, to: c_int) {
    if to < 0 {
        return;
    }
    table::duplicated(from, to);
    epoll::copied(from, to);
}

fn closing_range(first: c_uint, last: c_uint) {
    for fd in table::entered().chain(reserved::all()).filter(|fd| (first..=last).contains(&fd.unsigned_abs())) {
        table::closing(fd);
    }
}

fn leave_range(first: c_uint, last: c_uint) {
    for fd in table::entered().filter(|fd| (first..=last).contains(&fd.unsigned_abs())) {
        table::leave(fd);
    }
}
