//! Receiving from a linked connection.

use crate::buffers::{Buffers, part};
use crate::end::End;
use crate::link::{Link, Word};
use crate::statistics::{self, Count};
use crate::sync::fence;
use crate::{governor, lock, plain, readiness, real};
use libc::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Calls in a row that received less than [`LITTLE`], without one that sent, after which a stream is taken for one of small
/// messages that nobody answers one by one.
const TRICKLE_AFTER: u64 = 64;
const LITTLE: usize = 4096;

/// Looks of one call in a row that find that the other side has just turned or rung. An honest side does either a few times in
/// such a short while; one that never stops must not keep this thread here.
const TURNS_MAX: u32 = 4096;

/// Bytes moved, or an error number.
pub type Moved = Result<usize, c_int>;

/// The program's own call, on a descriptor and with further flags.
pub type Kernel<'a> = &'a mut dyn FnMut(i32, c_int) -> Moved;

/// One call that receives.
#[derive(Clone, Copy)]
pub struct Receiving<'a> {
    /// The descriptor it was made on, or the one that took its place when that was closed meanwhile.
    pub fd: i32,
    /// Where to.
    pub buffers: Buffers<'a>,
    /// `MSG_` flags.
    pub flags: c_int,
    /// Whether the program has room for descriptors, which only its own call can receive.
    pub with_control: bool,
}

/// What one look brought.
enum Look {
    Done(Moved),
    /// Bytes of the ring.
    FromRing(usize),
    /// Nothing there, and the socket was not asked.
    Empty,
    /// Nothing there, as the kernel said.
    EmptySocket,
    /// Something changed; look again.
    Again,
}

/// Receives as the kernel would.
pub fn receive(connection: &impl End, link: &Link, call: &Receiving<'_>, kernel: Kernel<'_>) -> Moved {
    connection.settle(link);
    let total = call.buffers.len();
    if total == 0 && !plain::reads_bare(link) {
        return wait_for_any(connection, link, call);
    }
    let mut call = *call;
    let wants_all = call.flags & libc::MSG_WAITALL != 0 && call.flags & libc::MSG_PEEK == 0;
    // Until there is no more, or in the end waiting for it.
    let mut reads_on = wants_all;
    let mut began = None;
    let mut done = 0;
    let mut turns = 0;
    loop {
        call.fd = connection.descriptor(call.fd);
        if done == 0 && plain::is_bare(connection, link, call.fd) {
            return match connection.during(false, || kernel(call.fd, 0)) {
                Ok(0) if total > 0 => end(link, call.fd, 0),
                moved => moved,
            };
        }
        let looked = look(connection, link, &call, done, kernel);
        match looked {
            Look::Again if turns < TURNS_MAX => turns += 1,
            Look::Again => {
                link.set(Word::Broken, 1);
                return if done > 0 { Ok(done) } else { Err(libc::ECONNRESET) };
            }
            Look::FromRing(count) => {
                done += count;
                reads_on |= goes_on(link, &call);
                if done >= total || !reads_on {
                    return Ok(done);
                }
            }
            Look::Done(Ok(count)) => {
                done += count;
                if count == 0 || done >= total || !reads_on {
                    return Ok(done);
                }
            }
            Look::Done(Err(error)) => return if done > 0 { Ok(done) } else { Err(error) },
            Look::Empty | Look::EmptySocket if done > 0 && !wants_all => return Ok(done),
            Look::Empty | Look::EmptySocket => {
                show_processor(link);
                let may_wait = may_wait(connection, link, &call, done > 0);
                let by_ring = matches!(looked, Look::Empty);
                if !may_wait && (!by_ring || was_asked(link)) && !has_changed(link, call.fd, by_ring) {
                    return if done > 0 { Ok(done) } else { Err(libc::EAGAIN) };
                }
                match wait(connection, link, &call, may_wait, &mut began) {
                    Ok(true) => continue,
                    Ok(false) => return end(link, connection.descriptor(call.fd), done),
                    Err(error) => return if done > 0 { Ok(done) } else { Err(error) },
                }
            }
        }
    }
}

/// Whether what follows the ring's bytes may lie in the socket. Less than there was room for means to a program that there is
/// no more for now, and one that is told of arrivals only would never come back for the rest.
fn goes_on(link: &Link, call: &Receiving<'_>) -> bool {
    call.flags & libc::MSG_PEEK == 0 && !call.with_control && link.theirs(Word::Mode).is_multiple_of(2)
}

/// A call without room waits for the first byte and takes none.
fn wait_for_any(connection: &impl End, link: &Link, call: &Receiving<'_>) -> Moved {
    let mut byte = 0u8;
    let at = std::ptr::from_mut(&mut byte).cast::<c_void>();
    let flags = call.flags | libc::MSG_PEEK;
    let parts = [part(at, 1)];
    // SAFETY: the byte outlives the call.
    let call = Receiving { fd: call.fd, buffers: unsafe { Buffers::new(&parts) }, flags, with_control: false };
    // SAFETY: as above.
    receive(connection, link, &call, &mut |fd, more| real::outcome(unsafe { real::recv(fd, at, 1, flags | more) }))
        .map(|_| 0)
}

/// Looks into the ring and, where that is where data would be, into the socket.
fn look(connection: &impl End, link: &Link, call: &Receiving<'_>, done: usize, kernel: Kernel<'_>) -> Look {
    if link.get(Word::Broken) != 0 {
        return Look::Done(Err(libc::ECONNRESET));
    }
    // This thread holds the lock already: a signal handler that reads what it interrupted.
    let Some(held) = lock::acquire(link.own(Word::ReceiveLock)) else { return Look::Done(Err(libc::EAGAIN)) };
    // What is known to be in the ring comes first, whatever has happened since.
    let known = link.known_unread();
    if known > 0 && known >= call.buffers.len() - done && !plain::reads_bare(link) {
        return Look::FromRing(from_ring(link, call, done, known));
    }
    if known == 0 && link.get(Word::Trickle) >= TRICKLE_AFTER {
        governor::gather();
    }
    // The mode before the position: an even mode's position is final.
    let mode = link.theirs(Word::Mode);
    if !plain::reads_bare(link) {
        match link.checked_unread() {
            Err(_) => {
                link.set(Word::Broken, 1);
                return Look::Done(Err(libc::ECONNRESET));
            }
            Ok(0) => {}
            Ok(unread) => return Look::FromRing(from_ring(link, call, done, unread)),
        }
    }
    let all_drained = readiness::drain(link, call.fd);
    // If some have not arrived, the socket's next byte is one of them, or the end.
    if !mode.is_multiple_of(2) && !plain::reads_bare(link) || !all_drained {
        return Look::Empty;
    }
    link.set(Word::Inside, 1);
    fence(Ordering::SeqCst);
    // It rings in an empty socket only.
    let is_ringing = link.theirs(Word::Ringing) != 0;
    if link.theirs(Word::Mode) != mode || link.theirs(Word::Rings) != link.get(Word::Drained) {
        link.set(Word::Inside, 0);
        return Look::Again;
    }
    if is_ringing {
        link.set(Word::Inside, 0);
        return Look::Empty;
    }
    let moved = from_socket(connection, call, done, kernel);
    link.set(Word::Inside, 0);
    drop(held);
    match moved {
        Err(libc::EAGAIN) => Look::EmptySocket,
        Err(libc::ECONNRESET) => Look::Done(reset(link).or_else(|error| put_off(link, call, done, error))),
        Ok(0) if done == 0 && call.buffers.len() > done => Look::Done(end(link, call.fd, 0)),
        moved => {
            connection.count_received();
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
    // A sender sets it to 0 without this lock; that one call is lost then costs nothing.
    let trickle = link.get(Word::Trickle);
    if taken >= LITTLE {
        link.set(Word::Trickle, 0);
    } else if trickle < TRICKLE_AFTER {
        link.set(Word::Trickle, trickle + 1);
    }
    statistics::add(Count::RingReceives);
    taken
}

fn from_socket(connection: &impl End, call: &Receiving<'_>, done: usize, kernel: Kernel<'_>) -> Moved {
    if done == 0 {
        return connection.uncancelled(|| kernel(call.fd, libc::MSG_DONTWAIT));
    }
    // The rest of a call that wants everything.
    match call.buffers.pieces(done, usize::MAX).next() {
        None => Ok(0),
        Some((at, length)) => {
            // SAFETY: a piece of the program's buffer.
            real::outcome(unsafe {
                real::recv_uncancelled(call.fd, at.cast(), length, call.flags | libc::MSG_DONTWAIT)
            })
        }
    }
}

/// Tells the other side where this one reads. The line is one that it looks at, so only if it is news.
fn show_processor(link: &Link) {
    let processor = governor::own_processor();
    if link.get(Word::Processor) != processor {
        link.set(Word::Processor, processor);
    }
}

/// Whether a call sleeps when there is nothing.
fn may_wait(connection: &impl End, link: &Link, call: &Receiving<'_>, in_the_middle: bool) -> bool {
    call.flags & libc::MSG_DONTWAIT == 0 && (in_the_middle || !is_nonblocking(connection, link, call.fd))
}

/// Whether the other side has turned since there was nothing, or sent. Gives back what it wants.
fn has_changed(link: &Link, fd: i32, was_by_ring: bool) -> bool {
    plain::honour(link, fd);
    let is_where_it_was =
        if was_by_ring { readiness::is_by_ring(link) } else { link.theirs(Word::Mode).is_multiple_of(2) };
    readiness::has_unread(link) || !is_where_it_was
}

/// Whether an empty ring alone says that there is nothing: an end is announced by a peer that makes one, and the kernel is
/// asked once per tick of the coarse clock (4 ms at most) for a peer that was killed.
fn was_asked(link: &Link) -> bool {
    let tick = governor::tick();
    if !readiness::is_by_ring(link) || link.get(Word::AskedAt) != tick {
        link.set(Word::AskedAt, tick);
        return false;
    }
    true
}

/// Waits for news. `Ok(false)`: the stream has ended. `began`: when the call first waited.
fn wait(
    connection: &impl End,
    link: &Link,
    call: &Receiving<'_>,
    may_block: bool,
    began: &mut Option<Instant>,
) -> Result<bool, c_int> {
    plain::honour(link, call.fd);
    let mode = link.theirs(Word::Mode);
    // Who wants the plain socket rings only whoever has announced sleep, so it is looked for after that too.
    let news = || readiness::has_unread(link) || link.theirs(Word::Mode) != mode || plain::must_give_back(link);
    if may_block && governor::look(link.theirs(Word::Processor), news) {
        return Ok(true);
    }
    let asleep = readiness::Asleep::new();
    let announced = if may_block { link.announce() } else { 0 };
    let peeked = if may_block && news() {
        Ok(1)
    } else {
        {
            let fd = connection.descriptor(call.fd);
            connection.during(true, || sleep(fd, may_block, began))
        }
    };
    if asleep.was_last() && may_block {
        link.awake(announced);
    }
    // What was put into the ring before the end counts before it.
    if readiness::has_unread(link) {
        return Ok(true);
    }
    match peeked {
        Ok(0) => Ok(false),
        Ok(_) if is_undeclared(link, connection.descriptor(call.fd)) => {
            link.set(Word::Broken, 1);
            Err(libc::ECONNRESET)
        }
        Ok(_) => Ok(true),
        Err(libc::ECONNRESET) => reset(link).map(|_| false),
        Err(error) => Err(error),
    }
}

/// Sleeps until the socket has something, or looks. The program's own kind of call keeps its time limit, its signals and its
/// restarts. The limit is one for all sleeps of a call, so from the second on what is left of it is watched here.
fn sleep(fd: i32, may_block: bool, began: &mut Option<Instant>) -> Moved {
    if !may_block {
        return peek(fd, false);
    }
    let is_first = began.is_none();
    let began = *began.get_or_insert_with(Instant::now);
    let Some(limit) = (if is_first { None } else { time_limit(fd, libc::SO_RCVTIMEO) }) else { return peek(fd, true) };
    let left = limit.saturating_sub(began.elapsed());
    let left_ms = c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    match real::outcome(unsafe { real::poll(&mut entry, 1, left_ms) } as isize) {
        Ok(0) => Err(libc::EAGAIN),
        Ok(_) => peek(fd, false),
        Err(error) => Err(error),
    }
}

/// The limit that the program set for calls on a socket. `None`: there is none.
pub fn time_limit(fd: i32, option: c_int) -> Option<Duration> {
    let mut limit = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut length = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the option fills the structure.
    let asked =
        unsafe { real::getsockopt(fd, libc::SOL_SOCKET, option, std::ptr::from_mut(&mut limit).cast(), &mut length) };
    let whole = Duration::from_secs(limit.tv_sec.max(0).unsigned_abs());
    let limit = whole + Duration::from_micros(limit.tv_usec.max(0).unsigned_abs());
    (asked == 0 && !limit.is_zero()).then_some(limit)
}

fn peek(fd: i32, may_block: bool) -> Moved {
    let mut byte = 0u8;
    let at = std::ptr::from_mut(&mut byte).cast::<c_void>();
    // SAFETY: the buffer is one byte long.
    real::outcome(unsafe {
        if may_block {
            real::recv(fd, at, 1, libc::MSG_PEEK)
        } else {
            real::recv_uncancelled(fd, at, 1, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        }
    })
}

/// Whether the socket holds a byte that is neither data nor a doorbell: the other side says that it sends by its ring, or is
/// ringing, and that it has rung no more often than was taken. It says so before it sends anything, so it lies.
fn is_undeclared(link: &Link, fd: i32) -> bool {
    let Some(_held) = lock::acquire(link.own(Word::ReceiveLock)) else { return false };
    if !readiness::drain(link, fd) || !matches!(peek(fd, false), Ok(1)) {
        return false;
    }
    let by_ring = !link.theirs(Word::Mode).is_multiple_of(2) || link.theirs(Word::Ringing) != 0;
    by_ring && !plain::reads_bare(link) && link.unread() == Ok(0) && link.theirs(Word::Rings) == link.get(Word::Drained)
}

/// What a read says at the end of the stream: a peer that left bytes unread has reset it, once.
fn end(link: &Link, fd: i32, done: usize) -> Moved {
    if done == 0 && link.own(Word::ResetOwed).swap(0, Ordering::AcqRel) != 0 {
        return Err(libc::ECONNRESET);
    }
    if done == 0
        && link.get(Word::ShutRead) == 0
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
fn reset(link: &Link) -> Moved {
    if link.sends_by_ring() && all_was_read(link) {
        return Ok(0);
    }
    link.set(Word::ResetTold, 1);
    Err(libc::ECONNRESET)
}

/// A call that has received something before it is told of a reset says how much. The kernel tells once, so this side tells the
/// next call; but not after one that wanted everything, for which the kernel forgets it too.
fn put_off(link: &Link, call: &Receiving<'_>, done: usize, error: c_int) -> Moved {
    if done == 0 {
        return Err(error);
    }
    if call.flags & libc::MSG_WAITALL == 0 {
        link.set(Word::ResetOwed, 1);
    }
    Ok(0)
}

/// Whether the other side read all of our ring.
fn all_was_read(link: &Link) -> bool {
    let read = link.theirs(Word::Read).max(link.get(Word::Returned));
    link.get(Word::Written) == read
}

/// Whether the descriptor is non-blocking. The flag belongs to the open file: where another process has it too, it is asked
/// for each time.
pub fn is_nonblocking(connection: &impl End, link: &Link, fd: i32) -> bool {
    // SAFETY: asks for flags.
    let ask = || unsafe { real::fcntl(fd, libc::F_GETFL, 0) & libc::O_NONBLOCK != 0 };
    if link.get(Word::Shared) != 0 { ask() } else { connection.is_nonblocking(ask) }
}
