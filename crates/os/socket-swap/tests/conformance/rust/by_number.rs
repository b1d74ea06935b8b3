//! Calls of libc that Rust's own library does not offer, as safe functions.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The error of a call that returned a negative number.
fn checked(value: isize) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}

/// What arrived, as text.
pub(crate) fn recv(end: &impl AsRawFd, count: usize, flags: i32) -> io::Result<String> {
    let mut bytes = vec![0; count];
    // SAFETY: the buffer is as long as said.
    let moved = checked(unsafe { libc::recv(end.as_raw_fd(), bytes.as_mut_ptr().cast(), count, flags) })?;
    Ok(String::from_utf8_lossy(&bytes[..moved.min(count)]).into_owned())
}

pub(crate) fn send(end: &impl AsRawFd, bytes: &[u8], flags: i32) -> io::Result<usize> {
    // SAFETY: the buffer is as long as said.
    checked(unsafe { libc::send(end.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Sends to an address that no connection leads to.
pub(crate) fn send_elsewhere(end: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: a structure of numbers for which zeros are valid; buffer and address are as long as said.
    checked(unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        address.sun_path[0] = b'/' as libc::c_char;
        let length = size_of_val(&address) as libc::socklen_t;
        let address = std::ptr::from_ref(&address).cast();
        libc::sendto(end.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, address, length)
    })
}

/// A head without anything in it.
fn message(parts: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: zeros are a valid head.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Several pieces as one message.
pub(crate) fn sendmsg(end: &impl AsRawFd, pieces: &[&[u8]], flags: i32) -> io::Result<usize> {
    let mut parts: Vec<_> = pieces.iter().map(|piece| part(piece)).collect();
    // SAFETY: head, parts and pieces live until the end of the call.
    checked(unsafe { libc::sendmsg(end.as_raw_fd(), &message(&mut parts), flags) })
}

/// One message into two pieces of these lengths: what arrived, and the flags that came with it.
pub(crate) fn recvmsg(end: &impl AsRawFd, lengths: [usize; 2], flags: i32) -> io::Result<(String, i32)> {
    let mut pieces = lengths.map(|length| vec![0u8; length]);
    let [first, second] = &mut pieces;
    let mut parts = [part(first), part(second)];
    let mut head = message(&mut parts);
    // SAFETY: head, parts and pieces live until the end of the call.
    let moved = checked(unsafe { libc::recvmsg(end.as_raw_fd(), &mut head, flags) })?;
    let all = pieces.concat();
    Ok((String::from_utf8_lossy(&all[..moved]).into_owned(), head.msg_flags))
}

/// Each piece as a message of its own: how many went, and the bytes of each.
pub(crate) fn sendmmsg(end: &impl AsRawFd, pieces: &[&[u8]]) -> io::Result<(usize, Vec<u32>)> {
    let mut parts: Vec<[libc::iovec; 1]> = pieces.iter().map(|piece| [part(piece)]).collect();
    let heads = parts.iter_mut().map(|part| libc::mmsghdr { msg_hdr: message(part), msg_len: 0 });
    let mut heads: Vec<_> = heads.collect();
    // SAFETY: heads, parts and pieces live until the end of the call.
    let sent = checked(unsafe { libc::sendmmsg(end.as_raw_fd(), heads.as_mut_ptr(), heads.len() as u32, 0) } as isize)?;
    Ok((sent, heads[..sent].iter().map(|head| head.msg_len).collect()))
}

/// Messages of at most `length` bytes: what came in each.
pub(crate) fn recvmmsg(end: &impl AsRawFd, length: usize, count: usize, flags: i32) -> io::Result<Vec<String>> {
    let mut pieces = vec![vec![0u8; length]; count];
    let mut parts: Vec<[libc::iovec; 1]> = pieces.iter_mut().map(|piece| [part(piece)]).collect();
    let heads = parts.iter_mut().map(|part| libc::mmsghdr { msg_hdr: message(part), msg_len: 0 });
    let mut heads: Vec<_> = heads.collect();
    let (first, number) = (heads.as_mut_ptr(), count as u32);
    // SAFETY: heads, parts and pieces live until the end of the call.
    let came =
        checked(unsafe { libc::recvmmsg(end.as_raw_fd(), first, number, flags, std::ptr::null_mut()) } as isize)?;
    let texts = heads[..came].iter().zip(&pieces).map(|(head, piece)| &piece[..head.msg_len as usize]);
    Ok(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// Room for one descriptor beside a message, aligned as control messages are.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A byte with a descriptor beside it.
pub(crate) fn pass(end: &UnixStream, passed: &impl AsRawFd) -> io::Result<usize> {
    let mut parts = [part(b"f")];
    let (mut head, mut control) = (message(&mut parts), Control([0; 64]));
    // SAFETY: all parts live until the end of the call, and the control buffer has room for one descriptor.
    checked(unsafe {
        head.msg_control = control.0.as_mut_ptr().cast();
        head.msg_controllen = libc::CMSG_SPACE(size_of::<i32>() as u32) as usize;
        let first = libc::CMSG_FIRSTHDR(&head);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as usize;
        libc::CMSG_DATA(first).cast::<i32>().write_unaligned(passed.as_raw_fd());
        libc::sendmsg(end.as_raw_fd(), &head, 0)
    })
}

/// What came beside the next byte.
pub(crate) fn take_passed(end: &UnixStream) -> Option<OwnedFd> {
    let byte = [0u8];
    let mut parts = [part(&byte)];
    let (mut head, mut control) = (message(&mut parts), Control([0; 64]));
    // SAFETY: all parts live until the end of the call; the kernel wrote the header that is read, and what arrives is ours.
    unsafe {
        head.msg_control = control.0.as_mut_ptr().cast();
        head.msg_controllen = size_of::<Control>();
        if libc::recvmsg(end.as_raw_fd(), &mut head, libc::MSG_CMSG_CLOEXEC) != 1 {
            return None;
        }
        let first = libc::CMSG_FIRSTHDR(&head);
        let is_right = !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS;
        is_right.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<i32>().read_unaligned()))
    }
}

/// Unread bytes.
pub(crate) fn unread(end: &impl AsRawFd) -> io::Result<i32> {
    let mut count = 0;
    // SAFETY: the call fills one number.
    checked(unsafe { libc::ioctl(end.as_raw_fd(), libc::FIONREAD, &mut count) } as isize)?;
    Ok(count)
}

/// A number that `getsockopt` knows.
pub(crate) fn option(end: &impl AsRawFd, level: i32, name: i32) -> io::Result<i32> {
    let (mut value, mut length) = (0i32, size_of::<i32>() as libc::socklen_t);
    let at = std::ptr::from_mut(&mut value).cast();
    // SAFETY: the call fills a number of the length that is said.
    checked(unsafe { libc::getsockopt(end.as_raw_fd(), level, name, at, &mut length) } as isize)?;
    Ok(value)
}

pub(crate) fn set_option(end: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<usize> {
    let at = std::ptr::from_ref(&value).cast();
    // SAFETY: the call reads a number of the length that is said.
    checked(unsafe { libc::setsockopt(end.as_raw_fd(), level, name, at, size_of::<i32>() as libc::socklen_t) } as isize)
}

/// `fcntl` with a number.
pub(crate) fn control(end: &impl AsRawFd, command: i32, value: i32) -> io::Result<usize> {
    // SAFETY: commands of these tests take a number, and descriptors that they make are closed with the process.
    checked(unsafe { libc::fcntl(end.as_raw_fd(), command, value) } as isize)
}

/// The events of one descriptor.
pub(crate) fn poll(end: &impl AsRawFd, wanted: i16, ms: i32) -> io::Result<(usize, i16)> {
    let mut entry = libc::pollfd { fd: end.as_raw_fd(), events: wanted, revents: 0 };
    // SAFETY: one entry, as said.
    let ready = checked(unsafe { libc::poll(&mut entry, 1, ms) } as isize)?;
    Ok((ready, entry.revents))
}

/// An epoll set.
pub(crate) struct Set(OwnedFd);

impl Set {
    pub(crate) fn new() -> Self {
        // SAFETY: the descriptor is new, and ours.
        Self(unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) })
    }

    pub(crate) fn change(&self, operation: i32, end: &impl AsRawFd, events: i32) -> io::Result<usize> {
        let mut event = libc::epoll_event { events: events as u32, u64: 7 };
        // SAFETY: the call reads one event.
        checked(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, end.as_raw_fd(), &mut event) } as isize)
    }

    /// The events of at most one descriptor. 0: none.
    pub(crate) fn wait(&self, ms: i32) -> io::Result<u32> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event, as said.
        let ready = checked(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, ms) } as isize)?;
        let (events, data) = (event.events, event.u64);
        assert!(ready == 0 || data == 7, "the program's own word comes back");
        Ok(if ready == 0 { 0 } else { events })
    }
}

/// Sends this process a signal after a while, which a handler takes that does nothing.
pub(crate) fn interrupt_after(ms: i64, flags: i32) {
    extern "C" fn nothing(_number: i32) {}
    // SAFETY: structures of numbers for which zeros are valid; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = flags;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        let mut timer: libc::itimerval = std::mem::zeroed();
        timer.it_value.tv_usec = ms * 1000;
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
}

/// A process that was forked.
pub(crate) struct Child(i32);

/// Runs `child` in a forked process, which ends with what it returns, or by the signal that it dies of.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> Child {
    // SAFETY: one thread calls, and the child ends without a return.
    let number = unsafe { libc::fork() };
    if number == 0 {
        let code = child();
        // SAFETY: ends the process.
        unsafe { libc::_exit(code) };
    }
    Child(number)
}

impl Child {
    /// Waits for its end.
    pub(crate) fn ended(self) -> ExitStatus {
        let mut status = 0;
        // SAFETY: the call fills one number.
        unsafe { libc::waitpid(self.0, &mut status, 0) };
        ExitStatus::from_raw(status)
    }
}

/// Lets a broken pipe kill this process, as it does where Rust's library did not begin.
pub(crate) fn let_pipes_kill() {
    // SAFETY: restores the system's own handling.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Ends this process at once, by force.
pub(crate) fn die() {
    // SAFETY: ends the process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
