//! Sending on a linked connection.

use crate::buffers::Buffers;
use crate::end::End;
use crate::link::{CAPACITY, Link, Word, stance};
use crate::receive::{Moved, is_nonblocking, time_limit};
use crate::statistics::{self, Count};
use crate::sync::fence;
use crate::{governor, lock, plain, readiness, real, worth};
use libc::c_int;
use std::sync::atomic::Ordering;

/// Blocking sends through the socket between two attempts to get the stream back to its ring.
const SENDS_PER_ATTEMPT: u64 = 16;

/// A long message is published in pieces, so that the other side reads the first while the next is copied.
const PIECE_BYTES: usize = if cfg!(loom) { 2 } else { 16 * 1024 };

/// A socket that the kernel calls writable has three quarters of its buffer free: in the smallest one there is, room for so
/// many single bytes.
const BELLS_PER_LOOK: u64 = 4;

/// One call that sends.
pub struct Sending<'a> {
    /// The descriptor it was made on.
    pub fd: i32,
    /// What.
    pub buffers: Buffers<'a>,
    /// `MSG_` flags.
    pub flags: c_int,
}

/// A call's passage through the socket, during which nobody may turn to the ring.
struct ThroughSocket<'a>(&'a Link);

impl<'a> ThroughSocket<'a> {
    /// Under the send lock.
    fn new(link: &'a Link) -> Self {
        link.own(Word::Senders).fetch_add(1, Ordering::SeqCst);
        Self(link)
    }
}

impl Drop for ThroughSocket<'_> {
    fn drop(&mut self) {
        self.0.own(Word::Senders).fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends as the kernel would. `kernel` makes the program's own call.
pub fn send(connection: &impl End, link: &Link, call: &Sending<'_>, kernel: &mut dyn FnMut() -> Moved) -> Moved {
    connection.settle(link);
    // This thread holds the lock already: a signal handler that sends where it interrupted a send.
    let Some(held) = lock::acquire(link.own(Word::SendLock)) else { return Err(libc::EAGAIN) };
    if !plain::give_back(link, call.fd) {
        // What was in the ring when the other side left it must go first, and the socket is full.
        drop(held);
        return wait_for_socket(connection, link, call).and_then(|()| send(connection, link, call, kernel));
    }
    let is_worth = worth::is_worth_ring(link, call.buffers.len());
    let is_at_ring = link.sends_by_ring() || is_worth && turn_to_ring(connection, link, call);
    if !is_at_ring {
        let _through = ThroughSocket::new(link);
        drop(held);
        return connection.during(false, kernel);
    }
    if !is_worth || is_gone(link, call.fd) || call.buffers.is_empty() {
        return spill(connection, link, held, kernel);
    }
    by_ring(connection, link, held, call, kernel)
}

/// Sends by the ring, and what does not fit in time through the socket.
fn by_ring(
    connection: &impl End,
    link: &Link,
    held: lock::Held<'_>,
    call: &Sending<'_>,
    kernel: &mut dyn FnMut() -> Moved,
) -> Moved {
    let total = call.buffers.len();
    let mut done = 0;
    loop {
        let room = match link.room(total - done) {
            Ok(room) => room,
            Err(_) => {
                link.set(Word::Broken, 1);
                return Err(libc::ECONNRESET);
            }
        };
        if room > 0 {
            done += into_ring(link, call, done, room.min(PIECE_BYTES));
            if !ring(link, call.fd) {
                // The kernel says that nobody is there, and says it to the program in its own way.
                return spill(connection, link, held, kernel);
            }
            if link.they(stance::WANTS_PLAIN) {
                // It left its ring meanwhile and may not have seen this. If that is not all back, the socket is full.
                if !plain::give_back(link, call.fd) {
                    return Ok(done);
                }
                return rest_through_socket(connection, link, held, call, done);
            }
        }
        if done == total {
            return Ok(total);
        }
        if room > PIECE_BYTES {
            continue;
        }
        if call.flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(connection, link, call.fd) {
            // Less than was given means to a program that there is no room, and one that is told of changes only would wait for
            // the kernel to tell it of room: that does so once the socket was full.
            return match done {
                0 => spill(connection, link, held, kernel),
                _ => rest_through_socket(connection, link, held, call, done),
            };
        }
        // A reader at work makes room soon; a slow one is waited for in the socket.
        let wanted = (total - done).min(CAPACITY as usize / 4);
        if !governor::look(link.theirs(Word::Processor), || link.room(wanted).map_or(true, |room| room >= wanted)) {
            return rest_through_socket(connection, link, held, call, done);
        }
    }
}

/// Turns to the ring if everything sent through the socket was read and the other side is ready. Under the send lock.
fn turn_to_ring(connection: &impl End, link: &Link, call: &Sending<'_>) -> bool {
    if link.get(Word::Settled) == 0 || link.get(Word::Stay) != 0 || link.get(Word::Senders) != 0 {
        return false;
    }
    let their_stance = link.theirs(Word::Stance);
    if their_stance & stance::READY == 0 || their_stance & (stance::WANTS_PLAIN | stance::GONE) != 0 {
        return false;
    }
    if !was_all_read(call.fd) {
        // A stream that once filled its ring keeps the socket busy. A sender that would wait for room anyway waits now and
        // then until the socket is empty.
        let turn = link.get(Word::Attempts).wrapping_add(1);
        link.set(Word::Attempts, turn);
        let may_block = call.flags & libc::MSG_DONTWAIT == 0;
        if !turn.is_multiple_of(SENDS_PER_ATTEMPT) || !may_block || is_nonblocking(connection, link, call.fd) {
            return false;
        }
        if !governor::look(link.theirs(Word::Processor), || was_all_read(call.fd)) {
            return false;
        }
    }
    // The other side may be just about to take data out of its socket. It says so before it looks at the mode, and we look
    // for that after we changed it: one of us sees the other.
    link.own(Word::Mode).fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    if link.theirs(Word::Inside) != 0 {
        link.own(Word::Mode).fetch_add(1, Ordering::SeqCst);
        return false;
    }
    true
}

/// Sends what only the socket can carry: descriptors, addresses, urgent bytes, files.
pub fn send_through_socket(connection: &impl End, link: &Link, fd: i32, kernel: &mut dyn FnMut() -> Moved) -> Moved {
    let Some(held) = lock::acquire(link.own(Word::SendLock)) else { return Err(libc::EAGAIN) };
    if !plain::give_back(link, fd) {
        return Err(libc::EAGAIN);
    }
    spill(connection, link, held, kernel)
}

/// Whether the other side has taken everything out of its socket.
pub fn was_all_read(fd: i32) -> bool {
    let mut in_flight: c_int = 1;
    // SAFETY: the request writes one int: bytes sent that were not received.
    let asked = unsafe { real::ioctl(fd, libc::TIOCOUTQ, std::ptr::from_mut(&mut in_flight) as usize) };
    asked == 0 && in_flight == 0
}

/// Turns back to the socket and makes the program's own call.
fn spill(connection: &impl End, link: &Link, held: lock::Held<'_>, kernel: &mut dyn FnMut() -> Moved) -> Moved {
    turn_to_socket(link);
    let _through = ThroughSocket::new(link);
    drop(held);
    connection.during(false, kernel)
}

/// Under the send lock.
pub fn turn_to_socket(link: &Link) {
    if link.sends_by_ring() {
        // What follows through the socket takes room.
        link.set(Word::BellRoom, 0);
        link.own(Word::Mode).fetch_add(1, Ordering::SeqCst);
        statistics::add(Count::Spills);
    }
}

fn rest_through_socket(
    connection: &impl End,
    link: &Link,
    held: lock::Held<'_>,
    call: &Sending<'_>,
    done: usize,
) -> Moved {
    turn_to_socket(link);
    let _through = ThroughSocket::new(link);
    drop(held);
    let mut sent = done;
    for (at, length) in call.buffers.pieces(done, usize::MAX) {
        let mut in_piece = 0;
        while in_piece < length {
            // A call that has sent something says how much, and raises no signal.
            let flags = if sent + in_piece > 0 { call.flags | libc::MSG_NOSIGNAL } else { call.flags };
            let fd = connection.descriptor(call.fd);
            // SAFETY: within a piece of the program's buffer.
            let send = || real::outcome(unsafe { real::send(fd, at.add(in_piece).cast(), length - in_piece, flags) });
            let moved = connection.during(false, send);
            match moved {
                // The kernel sends less than it was given only where it gives up.
                Ok(count) if count < length - in_piece => return Ok(sent + in_piece + count),
                Ok(count) => in_piece += count,
                Err(error) if sent + in_piece == 0 => return Err(error),
                Err(_) => return Ok(sent + in_piece),
            }
        }
        sent += length;
    }
    Ok(sent)
}

fn into_ring(link: &Link, call: &Sending<'_>, done: usize, room: usize) -> usize {
    let mut put = 0;
    for (at, length) in call.buffers.pieces(done, room) {
        // SAFETY: a piece of the program's buffer, which is only read.
        unsafe { link.put(put, at, length) };
        put += length;
    }
    if link.get(Word::Trickle) != 0 {
        link.set(Word::Trickle, 0);
    }
    link.set(Word::Written, link.get(Word::Written).wrapping_add(put as u64));
    statistics::add(Count::RingSends);
    put
}

/// Rings if the other side may sleep. Under the send lock, after what was published. `false`: nobody is there.
pub fn ring(link: &Link, fd: i32) -> bool {
    fence(Ordering::SeqCst);
    let sleep = link.theirs(Word::Sleep);
    let rung_for = link.get(Word::RungFor);
    if sleep.is_multiple_of(2) || sleep == rung_for {
        return true;
    }
    // Whoever has a full socket has something to receive, and does not sleep.
    let room = match link.get(Word::BellRoom) {
        0 if readiness::kernel_events(fd, libc::POLLOUT) & libc::POLLOUT == 0 => return true,
        0 => BELLS_PER_LOOK,
        room => room,
    };
    // Whoever has left the ring, or is just taking data out of its socket, would take the byte for data. It says so before it
    // looks for this word, and we look for that after it: one of us sees the other.
    link.set(Word::Ringing, 1);
    fence(Ordering::SeqCst);
    if link.they(stance::WANTS_PLAIN) || !link.sends_by_ring() && link.theirs(Word::Inside) != 0 {
        link.set(Word::Ringing, 0);
        return true;
    }
    // The count first: who sees the byte must know that it is no data.
    link.own(Word::Rings).fetch_add(1, Ordering::SeqCst);
    link.set(Word::RungFor, sleep);
    link.set(Word::BellRoom, room - 1);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte.
    let rung = real::outcome(unsafe { real::send_uncancelled(fd, [0u8].as_ptr().cast(), 1, flags) });
    if rung.is_err() {
        link.own(Word::Rings).fetch_sub(1, Ordering::SeqCst);
        link.set(Word::RungFor, rung_for);
    }
    link.set(Word::Ringing, 0);
    if let Err(error) = rung {
        return error == libc::EAGAIN;
    }
    statistics::add(Count::Bells);
    true
}

/// Whether the other side said that it left, or the kernel says so: it is asked once per tick of the coarse clock (4 ms at
/// most), which notices a peer that was killed. As often the other side is told on which processor this one is.
fn is_gone(link: &Link, fd: i32) -> bool {
    if link.they(stance::GONE) {
        link.set(Word::Stay, 1);
        return true;
    }
    let tick = governor::tick();
    if link.get(Word::LookedAt) == tick {
        return false;
    }
    link.set(Word::LookedAt, tick);
    link.set(Word::Processor, governor::own_processor());
    if readiness::kernel_events(fd, 0) & libc::POLLHUP != 0 {
        link.set(Word::Stay, 1);
        return true;
    }
    false
}

fn wait_for_socket(connection: &impl End, link: &Link, call: &Sending<'_>) -> Result<(), c_int> {
    if call.flags & libc::MSG_DONTWAIT != 0 || is_nonblocking(connection, link, call.fd) {
        return Err(libc::EAGAIN);
    }
    let limit = time_limit(call.fd, libc::SO_SNDTIMEO);
    let limit_ms = limit.map_or(-1, |limit| c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX));
    let mut entry = libc::pollfd { fd: call.fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry.
    match real::outcome(unsafe { real::poll(&mut entry, 1, limit_ms) } as isize) {
        Ok(0) => Err(libc::EAGAIN),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
