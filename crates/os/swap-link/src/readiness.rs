//! Whether a linked connection can be read, and who sleeps.

use crate::end::End;
#[cfg(not(loom))]
use crate::link::CAPACITY;
use crate::link::{Broken, Link, Word, stance};
use crate::{lock, plain, real};
#[cfg(not(loom))]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Threads of this process that sleep until a descriptor is ready.
#[cfg(not(loom))]
static SLEEPERS: AtomicU32 = AtomicU32::new(0);

#[cfg(not(loom))]
fn sleepers() -> &'static AtomicU32 {
    &SLEEPERS
}

#[cfg(loom)]
use crate::model::sleepers;

/// More doorbells than this cannot be on their way: each was rung for another announcement of ours.
const RINGS_OWED_MAX: u64 = u32::MAX as u64;

/// Times that doorbells are taken out in a row, 64 at most each time. Nobody who keeps to the rules has so many on their way;
/// whoever does not must not keep this thread here.
const DRAINS_MAX: u32 = 1024;

/// Counts the calling thread as asleep until it is dropped.
pub struct Asleep {
    _private: (),
}

impl Asleep {
    /// The calling thread is about to sleep.
    #[expect(clippy::new_without_default, reason = "it counts")]
    pub fn new() -> Self {
        sleepers().fetch_add(1, Ordering::SeqCst);
        Self { _private: () }
    }

    /// Awake. Returns whether nobody else of this process sleeps.
    pub fn was_last(self) -> bool {
        std::mem::forget(self);
        sleepers().fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// Whether a thread of this process sleeps until a descriptor is ready, or is about to.
#[cfg(not(loom))]
pub fn anybody_sleeps() -> bool {
    sleepers().load(Ordering::SeqCst) > 0
}

/// For a thread that was cancelled while it counted as asleep.
#[cfg(not(any(loom, panic = "unwind")))]
pub fn forget_sleeper() {
    sleepers().fetch_sub(1, Ordering::SeqCst);
}

impl Drop for Asleep {
    fn drop(&mut self) {
        sleepers().fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the ring has something to read, or is broken, which a read reports. No call to the kernel.
#[inline]
pub fn has_unread(link: &Link) -> bool {
    !matches!(link.unread(), Ok(0)) && !plain::reads_bare(link)
}

/// Whether the other side sends by its ring and has not left: then nothing but data and doorbells has come.
#[inline]
pub fn is_by_ring(link: &Link) -> bool {
    !link.theirs(Word::Mode).is_multiple_of(2) && !link.they(stance::GONE) && !plain::reads_bare(link)
}

/// Whether our ring has room. `false`: where we send by the socket, the kernel knows.
#[inline]
#[cfg(not(loom))]
pub fn has_room(link: &Link) -> bool {
    let unread = link.get(Word::Written).wrapping_sub(link.theirs(Word::Read));
    let left = stance::GONE | stance::WANTS_PLAIN;
    link.sends_by_ring() && link.theirs(Word::Stance) & left == 0 && unread < CAPACITY
}

/// The kernel has news that are no data: the next read that finds nothing asks it.
pub fn ask_next(link: &Link) {
    link.set(Word::AskedAt, 0);
}

/// The same for what may be not linked yet.
#[inline]
pub fn is_ready(connection: &impl End) -> bool {
    connection.link().is_some_and(has_unread)
}

/// Where news may come from through the rings of a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// From nowhere: the other sides keep to their sockets, so looking does not help.
    Nothing,
    /// From this processor, plus one, or 0 if it is unknown or one of several.
    From(u64),
}

impl Expected {
    /// Adds a ring.
    pub fn add(&mut self, link: &Link) {
        let processor = link.theirs(Word::Processor);
        *self = match *self {
            expected if link.theirs(Word::Mode).is_multiple_of(2) => expected,
            Self::Nothing => Self::From(processor),
            Self::From(known) if known == processor => Self::From(known),
            Self::From(_) => Self::From(0),
        };
    }

    /// For the governor.
    pub fn processor(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::From(processor) => processor,
        }
    }
}

/// Takes doorbells out of the socket. Under the receive lock. Returns `false` if some have not arrived.
pub fn drain(link: &Link, fd: i32) -> bool {
    let mut took = false;
    let mut drains = 0;
    loop {
        let owed = link.theirs(Word::Rings).wrapping_sub(link.get(Word::Drained));
        if owed == 0 {
            break;
        }
        drains += 1;
        if owed > RINGS_OWED_MAX || drains > DRAINS_MAX {
            link.set(Word::Broken, 1);
            break;
        }
        let mut bytes = [0u8; 64];
        let count = bytes.len().min(owed as usize);
        // SAFETY: the buffer is ours and as long as said.
        let drained = unsafe { real::recv_uncancelled(fd, bytes.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT) };
        if drained <= 0 {
            return false;
        }
        took = true;
        link.set(Word::Drained, link.get(Word::Drained).wrapping_add(drained.unsigned_abs() as u64));
    }
    // Others may sleep on the doorbell that was just taken: have it rung again for the next news.
    // So may another process that has this end too.
    if took && (sleepers().load(Ordering::SeqCst) > 0 || link.get(Word::Shared) != 0) {
        link.announce();
    }
    true
}

/// What the kernel says about the bare socket, without waiting.
pub fn kernel_events(fd: i32, events: i16) -> i16 {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry.
    if unsafe { real::look(&mut entry) } > 0 { entry.revents } else { 0 }
}

/// Whether a descriptor that the kernel calls readable is: a doorbell alone is no data.
pub fn is_truly_readable(connection: &impl End, fd: i32) -> bool {
    let Some(link) = connection.link() else { return true };
    plain::honour(link, fd);
    if has_unread(link) {
        return true;
    }
    {
        let Some(_held) = lock::acquire(link.own(Word::ReceiveLock)) else { return true };
        drain(link, fd);
    }
    if has_unread(link) {
        return true;
    }
    ask_next(link);
    kernel_events(fd, libc::POLLIN) != 0
}

/// Bytes that can be read, for FIONREAD.
pub fn unread_in_all(link: &Link, fd: i32) -> Result<usize, Broken> {
    let _held = lock::acquire(link.own(Word::ReceiveLock));
    drain(link, fd);
    let mut in_socket: libc::c_int = 0;
    // SAFETY: the request writes one int.
    unsafe { real::ioctl(fd, libc::FIONREAD, std::ptr::from_mut(&mut in_socket) as usize) };
    let in_ring = if plain::reads_bare(link) { 0 } else { link.unread()? };
    Ok(in_ring + usize::try_from(in_socket).unwrap_or(0))
}
