//! Back to the bare socket.
//!
//! A side whose program will read by other means (another program after `exec`, a stream of stdio, a descriptor that was
//! passed on) says that it wants the plain socket, and stops reading the ring. The sender then gives back, through the
//! socket, what was not read from its ring, and uses the ring no more.

use crate::end::End;
use crate::link::{Link, Word, stance};
use crate::statistics::{self, Count};
use crate::{governor, lock, readiness, real, send};
use std::time::Duration;

/// Longest wait for the other side to give back what is unread. It does so at its next call. After that a relay waits for it.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Whether this side has left the other's ring.
pub fn reads_bare(link: &Link) -> bool {
    link.get(Word::Stance) & stance::WANTS_PLAIN != 0
}

/// Whether this side has left the other's ring and the socket holds no doorbell and will hold none, so the kernel alone can
/// receive: it alone knows about a low-water mark. The other side may still be at its ring. It sees that we left before it
/// sends more or rings, and what it then has in the ring comes through the socket.
pub fn is_bare(connection: &impl End, link: &Link, fd: i32) -> bool {
    if !reads_bare(link) || must_give_back(link) || link.theirs(Word::Ringing) != 0 {
        return false;
    }
    let Some(_held) = lock::acquire(link.own(Word::ReceiveLock)) else { return false };
    readiness::drain(link, connection.descriptor(fd))
}

/// Takes both directions of a connection back to its socket, for good.
pub fn go_back(connection: &impl End, fd: i32) {
    connection.bar();
    let Some(link) = connection.link() else { return };
    if let Some(_held) = lock::acquire(link.own(Word::SendLock)) {
        give_back(link, fd);
        link.set(Word::Stay, 1);
        send::turn_to_socket(link);
    }
    if reads_bare(link) {
        return;
    }
    statistics::add(Count::Plain);
    if is_relay_needed(link, fd) && connection.relay(link, fd) {
        return;
    }
    {
        let _held = lock::acquire(link.own(Word::ReceiveLock));
        link.take_stance(stance::WANTS_PLAIN);
    }
    // The other side may be asleep: it gives back when it wakes.
    let patience = governor::Patience::new(WAIT_MAX);
    if link.unread().unwrap_or(0) > 0 {
        ring_for_attention(link, fd);
    }
    loop {
        // Before the doorbells are counted: one that has begun by now is among them, and none begins any more.
        let is_silent = link.theirs(Word::Ringing) == 0;
        let drained = is_silent && {
            let _held = lock::acquire(link.own(Word::ReceiveLock));
            readiness::drain(link, fd)
        };
        let is_empty = link.unread() == Ok(0);
        // The mode before the stance, as it is raised last.
        let turned = link.theirs(Word::Mode).is_multiple_of(2);
        let given_back = is_empty || turned && link.they(stance::GIVES_BACK);
        if drained && given_back {
            return;
        }
        let never = !given_back && turned;
        if never || patience.is_over() || readiness::kernel_events(fd, 0) & libc::POLLHUP != 0 {
            if !given_back {
                connection.relay(link, fd);
            }
            return;
        }
        patience.pause();
    }
}

/// Whether the other side could not give back what is unread.
fn is_relay_needed(link: &Link, fd: i32) -> bool {
    let by_socket = link.theirs(Word::Mode).is_multiple_of(2);
    let is_ending = readiness::kernel_events(fd, libc::POLLRDHUP) & (libc::POLLRDHUP | libc::POLLHUP) != 0;
    readiness::has_unread(link) && (by_socket || is_ending)
}

/// Whether a side that left the ring must take what is unread out of it after all, before anything further that the socket
/// brought. `ended`: the socket brings no more. Of what is unread, as many bytes as the socket brought before are given back.
pub fn is_left_in_ring(link: &Link, ended: bool) -> bool {
    let turned = link.theirs(Word::Mode).is_multiple_of(2);
    let gives_back = link.they(stance::GIVES_BACK);
    // Turned without giving back: it had not seen that we left. Ended in the middle: it was killed.
    reads_bare(link) && if gives_back { ended && !turned } else { ended || turned }
}

/// Wakes the other side if it sleeps. A doorbell among data could not be told from it, so where we send through the socket
/// there must be nothing in it; a side that has something to receive does not sleep.
fn ring_for_attention(link: &Link, fd: i32) {
    if let Some(_held) = lock::acquire(link.own(Word::SendLock)) {
        let may_hold_data = link.get(Word::Senders) != 0 || !send::was_all_read(fd);
        if link.sends_by_ring() || !may_hold_data {
            send::ring(link, fd);
        }
    }
}

/// Whether the other side waits for what it left in our ring.
#[inline]
pub fn must_give_back(link: &Link) -> bool {
    link.they(stance::WANTS_PLAIN) && link.sends_by_ring()
}

/// If the other side wants the plain socket, gives back what it has not read. Where a call may sleep or send.
#[inline]
pub fn honour(link: &Link, fd: i32) {
    if !must_give_back(link) {
        return;
    }
    if let Some(_held) = lock::acquire(link.own(Word::SendLock)) {
        give_back(link, fd);
    }
}

/// Under the send lock. `false`: the socket is full; the rest must go before anything else.
pub fn give_back(link: &Link, fd: i32) -> bool {
    if !link.they(stance::WANTS_PLAIN) {
        return true;
    }
    link.set(Word::Stay, 1);
    if !link.sends_by_ring() {
        return true;
    }
    link.take_stance(stance::GIVES_BACK);
    let written = link.get(Word::Written);
    let read = link.theirs(Word::Read);
    let unread = written.wrapping_sub(read);
    if unread > crate::link::CAPACITY {
        link.set(Word::Broken, 1);
        return true;
    }
    let mut from = read;
    let returned = link.get(Word::Returned);
    if returned.wrapping_sub(read) <= unread {
        from = returned;
    }
    while from != written {
        let (at, length) = link.own_run(from, written.wrapping_sub(from));
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: a run of our own ring, which only holders of the send lock change.
        let moved = real::outcome(unsafe { real::send_uncancelled(fd, at.cast(), length, flags) });
        match moved {
            Ok(count) => from = from.wrapping_add(count as u64),
            Err(libc::EAGAIN) => {
                link.set(Word::Returned, from);
                return false;
            }
            Err(_) => from = written,
        }
    }
    link.set(Word::Returned, from);
    send::turn_to_socket(link);
    true
}

/// Before the last descriptor of this process is closed.
pub fn leaving(link: &Link, fd: i32) {
    link.take_stance(stance::GONE);
    if let Some(_held) = lock::acquire(link.own(Word::SendLock)) {
        give_back(link, fd);
    }
    // A doorbell that nobody took would make the kernel report a reset instead of an end.
    if let Some(_held) = lock::acquire(link.own(Word::ReceiveLock)) {
        readiness::drain(link, fd);
    }
}

/// Before a `shutdown`: the kernel decides about every send after it, on either side.
pub fn shutting_down(link: &Link, how: libc::c_int) {
    if how != libc::SHUT_RD
        && let Some(_held) = lock::acquire(link.own(Word::SendLock))
    {
        link.set(Word::Stay, 1);
        send::turn_to_socket(link);
    }
    if how != libc::SHUT_WR {
        link.set(Word::ShutRead, 1);
        link.take_stance(stance::GONE);
    }
}
