//! The last way back to a bare socket: two processes that carry the bytes.
//!
//! What lies unread in the other side's ring must come before what lies in our socket, and only the other side can put bytes
//! into our socket. Where it has ended, sends no more, or is already sending through the socket, it cannot. Then the
//! program gets one end of a fresh pair of sockets under the same numbers, and two small processes, one for each direction,
//! read and write the old connection as this library does. They hold nothing else of the program's and end with the
//! connection.

use crate::link::{Link, Word};
use crate::receive::{Receiving, receive};
use crate::send::{Sending, send};
use crate::table::{self, Reference};
use crate::{alone, buffers, epoll, lock, plain, readiness, real};
use libc::{c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// Bytes that a relay moves at a time.
const STEP_BYTES: usize = 32 * 1024;

/// Puts relays between the program and the connection. `false`: it cannot be done, and nothing was changed.
pub(crate) fn begin(connection: &Reference, link: &Link, fd: i32) -> bool {
    let inode = connection.inode.load(Ordering::Relaxed);
    // A call inside of another thread would go on with the wrong socket, and a set would go on watching the old one.
    if !connection.is_quiet() || is_watched(connection) || table::socket_inode(fd) != Some(inode) {
        return false;
    }
    let Some(ends) = pair_like(fd) else { return false };
    prepare();
    link.set(Word::Shared, 1);
    alone::never_again();
    let started = start(connection, link, [fd, ends[1]]);
    // SAFETY: both are ours.
    unsafe {
        real::close(ends[1]);
        if started {
            take_the_place(inode, ends[0]);
        }
        real::close(ends[0]);
    }
    if started && connection.is_ours() {
        table::forget(connection);
    }
    started
}

fn is_watched(connection: &Reference) -> bool {
    table::entered().filter(|fd| epoll::is_watched(*fd)).any(|fd| table::find(fd).as_ref() == Some(connection))
}

/// Finds the calls that the copies need. Another thread may hold the loader's lock when they are made.
fn prepare() {
    // SAFETY: calls on no descriptor, or with no descriptors, do nothing.
    unsafe {
        real::close_range(c_uint::MAX, c_uint::MAX, 0);
        real::recv(-1, std::ptr::null_mut(), 0, 0);
        real::send(-1, std::ptr::null(), 0, 0);
        real::shutdown(-1, libc::SHUT_WR);
        real::poll(std::ptr::null_mut(), 0, 0);
        real::fcntl(-1, libc::F_GETFL, 0);
        let mut nothing: c_int = 0;
        real::ioctl(-1, libc::TIOCOUTQ, std::ptr::from_mut(&mut nothing) as usize);
    }
}

/// Two connected sockets, of which the first has the flags and limits of `fd`.
fn pair_like(fd: i32) -> Option<[i32; 2]> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors; then plain numbers and structures that live here.
    unsafe {
        if real::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) < 0 {
            return None;
        }
        for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
            let mut limit: libc::timeval = std::mem::zeroed();
            let mut length = size_of::<libc::timeval>() as libc::socklen_t;
            let at = std::ptr::from_mut(&mut limit).cast::<c_void>();
            if real::getsockopt(fd, libc::SOL_SOCKET, option, at, &mut length) == 0 {
                real::setsockopt(ends[0], libc::SOL_SOCKET, option, at, length);
            }
        }
        let flags = real::fcntl(fd, libc::F_GETFL, 0);
        real::fcntl(ends[0], libc::F_SETFL, flags as usize);
    }
    Some(ends)
}

/// Every descriptor of this process that leads to the socket leads to `end` instead.
///
/// # Safety
/// `end` is open.
unsafe fn take_the_place(inode: u64, end: i32) {
    for fd in 0..table::open_descriptors_end() {
        if table::socket_inode(fd) != Some(inode) {
            continue;
        }
        // SAFETY: plain numbers.
        unsafe {
            let closes = real::fcntl(fd, libc::F_GETFD, 0) & libc::FD_CLOEXEC != 0;
            real::dup3(end, fd, if closes { libc::O_CLOEXEC } else { 0 });
        }
    }
}

/// Starts both processes. They are nobody's children soon, so the program never waits for them.
fn start(connection: &Reference, link: &Link, fds: [i32; 2]) -> bool {
    let Some(between) = split() else { return false };
    if between == 0 {
        let is_up = detach(fds) && {
            match split() {
                Some(0) => carry_up(connection, link, fds),
                Some(_) => true,
                None => false,
            }
        };
        let is_down = is_up && {
            match split() {
                Some(0) => carry_down(connection, link, fds),
                Some(_) => true,
                None => false,
            }
        };
        leave(!is_down)
    }
    let mut status: c_int = -1;
    // SAFETY: writes one int.
    while unsafe { libc::waitpid(between, &mut status, libc::__WCLONE) } < 0 {
        if real::errno() != libc::EINTR {
            return false;
        }
    }
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// A copy of this process that no signal and no ordinary wait tells of. `Some(0)` in the copy.
fn split() -> Option<libc::pid_t> {
    // SAFETY: with all arguments 0 the kernel copies the process, as `fork` does; the copy uses only this library.
    let process = unsafe { real::syscall(libc::SYS_clone, 0, 0, 0, 0, 0, 0) };
    if process == 0 {
        lock::forget_thread();
    }
    libc::pid_t::try_from(process).ok().filter(|process| *process >= 0)
}

fn leave(failed: bool) -> ! {
    // SAFETY: ends this process at once.
    unsafe { real::syscall(libc::SYS_exit_group, usize::from(failed), 0, 0, 0, 0, 0) };
    loop {
        std::hint::spin_loop();
    }
}

/// Gives up everything of the program but two descriptors.
fn detach(fds: [i32; 2]) -> bool {
    let (low, high) = (fds[0].min(fds[1]) as c_uint, fds[0].max(fds[1]) as c_uint);
    let below = low.checked_sub(1).map(|last| (0, last));
    let between = (high - low > 1).then(|| (low + 1, high - 1));
    let gaps = [below, between, Some((high + 1, c_uint::MAX))];
    // SAFETY: plain numbers, and a set of signals that lives here.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        gaps.into_iter().flatten().all(|(first, last)| real::close_range(first, last, 0) == 0)
    }
}

/// From the old connection to the program.
fn carry_down(connection: &Reference, link: &Link, [old, to_program]: [i32; 2]) -> ! {
    let mut bytes = [0u8; STEP_BYTES];
    let at = bytes.as_mut_ptr().cast::<c_void>();
    let parts = [buffers::part(at, STEP_BYTES)];
    // SAFETY: the bytes live as long as this process.
    let buffers = unsafe { buffers::Buffers::new(&parts) };
    let call = Receiving { fd: old, buffers, flags: 0, with_control: false };
    let (mut carried, mut is_rest_taken) = (0, false);
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let mut kernel = |fd, more| real::outcome(unsafe { real::recv(fd, at, STEP_BYTES, more) });
        let count = receive(connection, link, &call, &mut kernel).unwrap_or(0);
        if !is_rest_taken && plain::is_left_in_ring(link, count == 0) {
            is_rest_taken = true;
            deliver_rest(link, to_program, carried);
        }
        if count == 0 || !write_all(to_program, at, count) {
            break;
        }
        carried += count;
    }
    let how = if readiness::kernel_events(old, 0) & libc::POLLHUP != 0 { libc::SHUT_RDWR } else { libc::SHUT_WR };
    // SAFETY: plain numbers.
    unsafe { real::shutdown(to_program, how) };
    leave(false)
}

/// What is unread in the ring, but for the first `given_back` bytes. Then all of it is read, and the end that the other side sees
/// is an ordinary one.
fn deliver_rest(link: &Link, to_program: i32, given_back: usize) {
    let mut bytes = [MaybeUninit::uninit(); STEP_BYTES];
    let mut done = given_back;
    loop {
        let unread = link.unread().unwrap_or(0);
        let count = unread.saturating_sub(done).min(STEP_BYTES);
        if count == 0 {
            link.set(Word::Read, link.get(Word::Read).wrapping_add(unread as u64));
            return;
        }
        link.take(done, &mut bytes[..count]);
        done += count;
        if !write_all(to_program, bytes.as_ptr().cast(), count) {
            return;
        }
    }
}

/// From the program to the old connection.
fn carry_up(connection: &Reference, link: &Link, [old, from_program]: [i32; 2]) -> ! {
    let mut bytes = [0u8; STEP_BYTES];
    let at = bytes.as_mut_ptr().cast::<c_void>();
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let received = real::outcome(unsafe { real::recv(from_program, at, STEP_BYTES, 0) });
        let Ok(count @ 1..) = received else { break };
        let parts = [buffers::part(at, count)];
        // SAFETY: the bytes live as long as this process.
        let buffers = unsafe { buffers::Buffers::new(&parts) };
        let call = Sending { fd: old, buffers, flags: libc::MSG_NOSIGNAL };
        // SAFETY: as above.
        let mut kernel = || {
            if write_all(old, at, count) { Ok(count) } else { Err(libc::EPIPE) }
        };
        if send(connection, link, &call, &mut kernel).is_err() {
            // SAFETY: plain numbers.
            unsafe { real::shutdown(from_program, libc::SHUT_RD) };
            leave(false)
        }
    }
    let is_closed = readiness::kernel_events(from_program, 0) & libc::POLLHUP != 0;
    plain::shutting_down(link, libc::SHUT_WR);
    // SAFETY: plain numbers.
    unsafe { real::shutdown(old, if is_closed { libc::SHUT_RDWR } else { libc::SHUT_WR }) };
    leave(false)
}

fn write_all(fd: i32, at: *const c_void, count: usize) -> bool {
    let mut done = 0;
    while done < count {
        // SAFETY: within the caller's bytes.
        match real::outcome(unsafe { real::send(fd, at.byte_add(done), count - done, libc::MSG_NOSIGNAL) }) {
            Ok(sent) => done += sent,
            Err(_) => return false,
        }
    }
    true
}
