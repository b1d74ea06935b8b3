//! Receiving from a linked connection.

use crate::buffers::Buffers;
use crate::link::{Link, Word};
use crate::statistics::{self, Count};
use crate::table::Reference;
use crate::{governor, lock, plain, readiness, real, rendezvous};
use libc::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, fence};

/// Bytes moved, or an error number.
pub(crate) type Moved = Result<usize, c_int>;

/// One call that receives.
pub(crate) struct Receiving<'a> {
    /// The descriptor it was made on.
    pub(crate) fd: i32,
    /// Where to.
    pub(crate) buffers: Buffers<'a>,
    /// `MSG_` flags.
    pub(crate) flags: c_int,
}

/// What one look brought.
enum Look {
    Done(Moved),
    /// Nothing there.
    Empty,
    /// Something changed; look again.
    Again,
}

/// Receives as the kernel would. `kernel` makes the program's own call with more flags.
pub(crate) fn receive(
    connection: &Reference,
    link: &Link,
    call: &Receiving<'_>,
    kernel: &mut dyn FnMut(c_int) -> Moved,
) -> Moved {
    rendezvous::settle(connection, link);
    let total = call.buffers.len();
    if total == 0 {
        return kernel(0);
    }
    let mut done = 0;
    loop {
        let looked = look(connection, link, call, done, kernel);
        match looked {
            Look::Again => continue,
            Look::Done(Ok(count)) => {
                done += count;
                let wants_all = call.flags & libc::MSG_WAITALL != 0 && call.flags & libc::MSG_PEEK == 0;
                if count == 0 || done >= total || !wants_all {
                    return Ok(done);
                }
            }
            Look::Done(Err(error)) => return if done > 0 { Ok(done) } else { Err(error) },
            Look::Empty => match wait(connection, link, call, done > 0) {
                Ok(true) => continue,
                Ok(false) => return end(link, call.fd, done),
                Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
            },
        }
    }
}

/// Looks into the ring and, where that is where data would be, into the socket.
fn look(
    connection: &Reference,
    link: &Link,
    call: &Receiving<'_>,
    done: usize,
    kernel: &mut dyn FnMut(c_int) -> Moved,
) -> Look {
    if link.get(Word::Broken) != 0 {
        return Look::Done(Err(libc::ECONNRESET));
    }
    // This thread holds the lock already: a signal handler that reads what it interrupted.
    let Some(held) = lock::acquire(link.own(Word::ReceiveLock)) else { return Look::Done(Err(libc::EAGAIN)) };
    // The mode before the position: an even mode's position is final.
    let mode = link.theirs(Word::Mode);
    if !plain::reads_bare(link) {
        match link.checked_unread() {
            Err(_) => {
                link.set(Word::Broken, 1);
                return Look::Done(Err(libc::ECONNRESET));
            }
            Ok(0) => {}
            Ok(unread) => return Look::Done(Ok(from_ring(link, call, done, unread))),
        }
    }
    let all_drained = readiness::drain(link, call.fd);
    if !mode.is_multiple_of(2) && !plain::reads_bare(link) {
        return Look::Empty;
    }
    if !all_drained {
        // The socket's next byte is a doorbell that is still on its way, or the end.
        return Look::Empty;
    }
    link.set(Word::Inside, 1);
    fence(Ordering::SeqCst);
    if link.theirs(Word::Mode) != mode {
        link.set(Word::Inside, 0);
        return Look::Again;
    }
    let moved = from_socket(call, done, kernel);
    link.set(Word::Inside, 0);
    drop(held);
    match moved {
        Err(libc::EAGAIN) => Look::Empty,
        Err(libc::ECONNRESET) => Look::Done(reset(link, done)),
        Ok(0) if call.buffers.len() > done => Look::Done(end(link, call.fd, 0)),
        moved => {
            connection.reads.fetch_add(1, Ordering::Relaxed);
            Look::Done(moved)
        }
    }
}

fn from_ring(link: &Link, call: &Receiving<'_>, done: usize, unread: usize) -> usize {
    let mut taken = 0;
    for (at, length) in call.buffers.pieces(done, unread) {
        // SAFETY: a piece of the program's buffer, which no Rust value refers to; it is only written.
        let piece = unsafe { std::slice::from_raw_parts_mut(at.cast::<MaybeUninit<u8>>(), length) };
        link.take(taken, piece);
        taken += length;
    }
    if call.flags & libc::MSG_PEEK == 0 {
        link.set(Word::Read, link.get(Word::Read).wrapping_add(taken as u64));
        if taken == unread && link.theirs(Word::Rings) != link.get(Word::Drained) {
            readiness::drain(link, call.fd);
        }
    }
    statistics::add(Count::RingReceives);
    taken
}

fn from_socket(call: &Receiving<'_>, done: usize, kernel: &mut dyn FnMut(c_int) -> Moved) -> Moved {
    if done == 0 {
        return kernel(libc::MSG_DONTWAIT);
    }
    // The rest of a call that wants everything.
    match call.buffers.pieces(done, usize::MAX).next() {
        None => Ok(0),
        Some((at, length)) => {
            // SAFETY: a piece of the program's buffer.
            real::outcome(unsafe { real::recv(call.fd, at.cast(), length, call.flags | libc::MSG_DONTWAIT) })
        }
    }
}

/// Waits for news. `Ok(false)`: the stream has ended.
fn wait(connection: &Reference, link: &Link, call: &Receiving<'_>, in_the_middle: bool) -> Result<bool, c_int> {
    plain::honour(connection, link, call.fd);
    let mode = link.theirs(Word::Mode);
    let news = || readiness::has_unread(link) || link.theirs(Word::Mode) != mode;
    let may_block = call.flags & libc::MSG_DONTWAIT == 0 && (in_the_middle || !is_nonblocking(call.fd));
    if may_block && governor::look(link.theirs(Word::Processor), news) {
        return Ok(true);
    }
    let asleep = readiness::Asleep::new();
    let announced = if may_block { link.announce() } else { 0 };
    let peeked = if may_block && news() { Ok(1) } else { peek(call.fd, may_block) };
    if asleep.was_last() && may_block {
        link.awake(announced);
    }
    // What was put into the ring before the end counts before it.
    if readiness::has_unread(link) {
        return Ok(true);
    }
    match peeked {
        Ok(0) => Ok(false),
        Ok(_) if is_undeclared(link, call.fd) => {
            link.set(Word::Broken, 1);
            Err(libc::ECONNRESET)
        }
        Ok(_) => Ok(true),
        Err(libc::ECONNRESET) => reset(link, 0).map(|_| false),
        Err(error) => Err(error),
    }
}

/// Sleeps until the socket has something, or looks. The program's own kind of call keeps its time limit, its signals and its
/// restarts.
fn peek(fd: i32, may_block: bool) -> Moved {
    let flags = libc::MSG_PEEK | if may_block { 0 } else { libc::MSG_DONTWAIT };
    let mut byte = 0u8;
    // SAFETY: the buffer is one byte long.
    real::outcome(unsafe { real::recv(fd, std::ptr::from_mut(&mut byte).cast(), 1, flags) })
}

/// Whether the socket holds a byte that is neither data nor a doorbell: the other side says that it sends by its ring, and
/// that it has rung no more often than was taken. It says so before it sends anything, so it lies.
fn is_undeclared(link: &Link, fd: i32) -> bool {
    let Some(_held) = lock::acquire(link.own(Word::ReceiveLock)) else { return false };
    if !readiness::drain(link, fd) || !matches!(peek(fd, false), Ok(1)) {
        return false;
    }
    let by_ring = !link.theirs(Word::Mode).is_multiple_of(2) && !plain::reads_bare(link);
    by_ring && link.unread() == Ok(0) && link.theirs(Word::Rings) == link.get(Word::Drained)
}

/// What a read says at the end of the stream: a peer that left bytes unread has reset it, once.
fn end(link: &Link, fd: i32, done: usize) -> Moved {
    if done == 0
        && !all_was_read(link)
        && readiness::kernel_events(fd, 0) & libc::POLLHUP != 0
        && link.own(Word::ResetTold).swap(1, Ordering::AcqRel) == 0
    {
        return Err(libc::ECONNRESET);
    }
    Ok(done)
}

/// The kernel says that the peer left bytes unread. Where all that was sent went through the ring and was read, that was a
/// doorbell which nobody needed any more, and this is an ordinary end.
fn reset(link: &Link, done: usize) -> Moved {
    if link.sends_by_ring() && all_was_read(link) {
        return Ok(done);
    }
    link.set(Word::ResetTold, 1);
    Err(libc::ECONNRESET)
}

/// Whether the other side read all of our ring.
fn all_was_read(link: &Link) -> bool {
    let read = link.theirs(Word::Read).max(link.get(Word::Returned));
    link.get(Word::Written) == read
}

/// Whether the descriptor is non-blocking. The flag belongs to the open file, which others may share, so it is asked for.
pub(crate) fn is_nonblocking(fd: i32) -> bool {
    // SAFETY: asks for flags.
    unsafe { real::fcntl(fd, libc::F_GETFL, 0) & libc::O_NONBLOCK != 0 }
}
