//! The calls that ours stand in front of, found once each.
//!
//! Hooks run before any constructor of this library, so each pointer is looked up when it is first needed. A look-up
//! twice by two threads finds the same.

use libc::{c_char, c_int, c_long, c_uint, c_void, epoll_event, fd_set, iovec, mmsghdr, msghdr, nfds_t, off_t, pollfd};
use libc::{sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval};
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The address of the next definition of `name` behind ours.
pub fn resolve(cell: &AtomicUsize, name: &CStr) -> usize {
    let known = cell.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: a look-up by a terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    let found = if found == 0 { missing as *const () as usize } else { found };
    cell.store(found, Ordering::Relaxed);
    found
}

/// Stands for a call that this system's libc does not have. No program can have been linked to it.
extern "C" fn missing() -> c_long {
    set_errno(libc::ENOSYS);
    -1
}

/// Sets the calling thread's `errno`.
pub fn set_errno(errno: c_int) {
    // SAFETY: the location belongs to this thread for as long as it lives.
    unsafe { *libc::__errno_location() = errno };
}

/// The calling thread's `errno`.
pub fn errno() -> c_int {
    // SAFETY: as in `set_errno`.
    unsafe { *libc::__errno_location() }
}

/// What a call returned, with its error.
pub fn outcome(value: ssize_t) -> Result<usize, c_int> {
    usize::try_from(value).map_err(|_| errno())
}

/// The type of a call of libc's. A cancelled thread unwinds through our frames: with panics that unwind the compiler must
/// know, so that values are dropped; with panics that abort it must not, as it would end the process there, and
/// the library's `cancel` lets go of what counts.
#[cfg(panic = "unwind")]
macro_rules! call_of_libc {
    (($($kind:ty),*) -> $result:ty) => { unsafe extern "C-unwind" fn($($kind),*) -> $result };
}
#[cfg(not(panic = "unwind"))]
macro_rules! call_of_libc {
    (($($kind:ty),*) -> $result:ty) => { unsafe extern "C" fn($($kind),*) -> $result };
}

macro_rules! real {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        /// # Safety
        /// As for the call of libc of this name.
        #[allow(clippy::too_many_arguments, non_snake_case, reason = "libc decides")]
        pub unsafe fn $name($($argument: $kind),*) -> $result {
            static CELL: AtomicUsize = AtomicUsize::new(0);
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name without zero bytes"),
            };
            let address = resolve(&CELL, NAME);
            // SAFETY: libc's symbol of this name has this type; what the caller passes is the caller's promise. A missing
            // symbol is replaced by a function that ignores its arguments.
            unsafe {
                let call: call_of_libc!(($($kind),*) -> $result) = std::mem::transmute(address);
                call($($argument),*)
            }
        }
    )*};
}

real! {
    read(fd: c_int, to: *mut c_void, count: size_t) -> ssize_t;
    write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t;
    readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t;
    preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
    pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
    recv(fd: c_int, to: *mut c_void, count: size_t, flags: c_int) -> ssize_t;
    send(fd: c_int, from: *const c_void, count: size_t, flags: c_int) -> ssize_t;
    recvfrom(fd: c_int, to: *mut c_void, count: size_t, flags: c_int, name: *mut sockaddr, length: *mut socklen_t) -> ssize_t;
    sendto(fd: c_int, from: *const c_void, count: size_t, flags: c_int, name: *const sockaddr, length: socklen_t) -> ssize_t;
    recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, limit: *mut timespec) -> c_int;
    sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    sendfile(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    splice(from: c_int, from_at: *mut off_t, to: c_int, to_at: *mut off_t, count: size_t, flags: c_uint) -> ssize_t;
    shutdown(fd: c_int, how: c_int) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int;
    fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
    ioctl(fd: c_int, request: libc::c_ulong, argument: usize) -> c_int;
    close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    closefrom(first: c_int) -> ();
    dup(fd: c_int) -> c_int;
    dup2(fd: c_int, to: c_int) -> c_int;
    dup3(fd: c_int, to: c_int, flags: c_int) -> c_int;
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    socketpair(domain: c_int, kind: c_int, protocol: c_int, ends: *mut c_int) -> c_int;
    accept(fd: c_int, name: *mut sockaddr, length: *mut socklen_t) -> c_int;
    accept4(fd: c_int, name: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int;
    connect(fd: c_int, name: *const sockaddr, length: socklen_t) -> c_int;
    poll(entries: *mut pollfd, count: nfds_t, limit: c_int) -> c_int;
    ppoll(entries: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t) -> c_int;
    select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, limit: *mut timeval) -> c_int;
    pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, limit: *const timespec, mask: *const sigset_t) -> c_int;
    epoll_create(size: c_int) -> c_int;
    epoll_create1(flags: c_int) -> c_int;
    epoll_ctl(set: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    epoll_wait(set: c_int, events: *mut epoll_event, count: c_int, limit: c_int) -> c_int;
    epoll_pwait(set: c_int, events: *mut epoll_event, count: c_int, limit: c_int, mask: *const sigset_t) -> c_int;
    epoll_pwait2(set: c_int, events: *mut epoll_event, count: c_int, limit: *const timespec, mask: *const sigset_t) -> c_int;
    _Fork() -> c_int;
    vdprintf(fd: c_int, format: *const c_char, arguments: *mut c_void) -> c_int;
    __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, arguments: *mut c_void) -> c_int;
    execve(path: *const c_char, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    execv(path: *const c_char, words: *const *const c_char) -> c_int;
    execvp(file: *const c_char, words: *const *const c_char) -> c_int;
    execvpe(file: *const c_char, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    fexecve(fd: c_int, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    posix_spawn(pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    posix_spawnp(pid: *mut c_int, file: *const c_char, actions: *const c_void, attributes: *const c_void, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    posix_spawn_file_actions_adddup2(actions: *mut c_void, fd: c_int, to: c_int) -> c_int;
    system(command: *const c_char) -> c_int;
    popen(command: *const c_char, kind: *const c_char) -> *mut c_void;
    fdopen(fd: c_int, kind: *const c_char) -> *mut c_void;
    syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long;
}

/// `send` in which no thread is cancelled.
///
/// # Safety
/// As for `send`.
pub unsafe fn send_uncancelled(fd: c_int, from: *const c_void, count: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise. No address.
    unsafe { syscall(libc::SYS_sendto, fd as usize, from as usize, count, flags as usize, 0, 0) as ssize_t }
}

/// `recv` in which no thread is cancelled.
///
/// # Safety
/// As for `recv`.
pub unsafe fn recv_uncancelled(fd: c_int, to: *mut c_void, count: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise. No address.
    unsafe { syscall(libc::SYS_recvfrom, fd as usize, to as usize, count, flags as usize, 0, 0) as ssize_t }
}

/// `poll` of one entry that does not wait, in which no thread is cancelled.
///
/// # Safety
/// The entry is valid.
pub unsafe fn look(entry: *mut pollfd) -> c_int {
    let none = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the caller's entry, a time that lives here, and no mask.
    unsafe { syscall(libc::SYS_ppoll, entry as usize, 1, std::ptr::from_ref(&none) as usize, 0, 0, 0) as c_int }
}
