//! The two segments of a swapped connection, and what their words mean (docs/spec/swap.md).
//!
//! Each side writes its own segment and can only read the other's. The upper part of the first page is what the other side
//! may know; the lower part is for the processes of one side, which share the mapping by `fork`. Everything that comes from
//! the other segment is hostile: read once, checked, and then at worst wrong in a way that breaks this connection only.

use crate::governor;
#[cfg(loom)]
use crate::model::{OtherSegment, OwnSegment};
use crate::sync::{AtomicU64, fence};
#[cfg(not(loom))]
use shm_ring::{OtherSegment, OwnSegment, Readable};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// Unread bytes that a ring holds. Less than a socket's default buffer, so that what is unread always fits there when a connection
/// goes back. The models fill a small one.
pub const CAPACITY: u64 = if cfg!(loom) { 4 } else { 128 * 1024 };
/// Bytes after which positions begin again, a power of two. With as few as the capacity, a writer who is as far ahead as he may be writes into
/// the cache lines that the reader is just taking, which halves what goes through (docs/measurements/swap.md).
const RING_BYTES: u64 = 2 * CAPACITY;
/// Pieces from this on are copied past the caches to a reader on another processor.
const FAR_BYTES: usize = 2048;
/// Where the ring's bytes begin.
const BYTES_AT: usize = 4096;
/// Size of a segment.
pub const SEGMENT_BYTES: usize = BYTES_AT + RING_BYTES as usize;

/// Words of a segment, by their offset.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Word {
    /// Bytes written into the ring since it was made.
    Written = 128,
    /// Odd: what is sent goes into the ring. Even: it goes through the socket. Raised by one at each turn.
    Mode = 136,
    /// Doorbell bytes sent through the socket since it was made.
    Rings = 144,
    /// The processor of the last call that sent, or that found nothing to receive, plus one: whether looking on keeps it from
    /// answering, and whether bytes for it are better not in our caches.
    Processor = 152,
    /// Bytes read from the other side's ring.
    Read = 256,
    /// Bits of [`stance`].
    Stance = 384,
    /// Not 0 while this side takes data out of its socket, so that the other side must not turn to the ring.
    Inside = 392,
    /// Not 0 while this side sends a doorbell, which the other side must not take for data.
    Ringing = 400,
    /// Odd while this side may sleep, and raised each time it is about to; the other side rings at most once for each value.
    /// Away from `Read`, which changes with every message: the other side looks at this one after each of its own.
    Sleep = 408,
    /// Lock of the sending direction. From here on, for this side's processes only.
    SendLock = 1024,
    /// The last plausible value of the other side's `Read`.
    SeenRead = 1032,
    /// The value of the other side's `Sleep` that was rung for.
    RungFor = 1040,
    /// Calls that are sending through the socket.
    Senders = 1048,
    /// Not 0: never turn to the ring again.
    Stay = 1056,
    /// Tick of the last look whether the other side lives.
    LookedAt = 1064,
    /// Bytes of the ring that went back through the socket.
    Returned = 1072,
    /// Sends through the socket while it was not read empty.
    Attempts = 1080,
    /// Doorbells that the socket has room for without asking it again.
    BellRoom = 1088,
    /// Not 0: messages of this size belong into the ring (`worth`).
    Favours = 1096,
    /// What speaks against that, in messages.
    Weight = 1104,
    /// Large messages for which this direction turns to its ring, if that is not the first time.
    TurnAfter = 1112,
    /// `Rings` at the message before.
    RingsBefore = 1120,
    /// Lock of the receiving direction.
    ReceiveLock = 1152,
    /// Doorbell bytes taken out of the socket.
    Drained = 1160,
    /// The last plausible value of the other side's `Written`.
    SeenWritten = 1168,
    /// Not 0: every call before the link has ended, so both directions may change.
    Settled = 1176,
    /// Not 0: the other side broke the rules, and this connection is reset.
    Broken = 1184,
    /// Not 0: another process of this side has the link too, by `fork`.
    Shared = 1200,
    /// Tick of the last look whether the socket has ended, of a read that found nothing and may not wait.
    AskedAt = 1208,
    /// Not 0: the reset of a peer that left bytes unread was reported.
    ResetTold = 1192,
    /// Not 0: a process of this side has shut its receiving direction down, so the kernel's end is its own.
    ShutRead = 1224,
    /// Not 0: the kernel told a call of a reset that had received something, so the next one is to be told.
    ResetOwed = 1232,
    /// Calls that received little, since this side sent last or received more, as far as it matters.
    Trickle = 1216,
}

/// Bits of [`Word::Stance`].
pub mod stance {
    /// This side reads by the calls that we stand in front of, so the other may use its ring.
    pub const READY: u64 = 1;
    /// This side will read from the bare socket: send back through it what is unread, and use no ring.
    pub const WANTS_PLAIN: u64 = 2;
    /// This side closed or shut down; ask the kernel before each send.
    pub const GONE: u64 = 4;
    /// This side sends back through the socket what the other left in the ring.
    pub const GIVES_BACK: u64 = 8;
    /// This side never looks at its ring before it sleeps, so small messages are better sent through the socket, in both
    /// directions.
    pub const SLEEPS_AT_ONCE: u64 = 16;
}

/// The other side published what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// A swapped connection's memory.
pub struct Link {
    own: OwnSegment,
    other: OtherSegment,
}

impl Link {
    /// Over both segments, which are at least [`SEGMENT_BYTES`] long.
    #[cfg_attr(loom, allow(private_interfaces, reason = "the models have segments of their own"))]
    pub fn new(own: OwnSegment, other: OtherSegment) -> Self {
        Self { own, other }
    }

    /// A word of our own segment.
    #[inline]
    pub fn own(&self, word: Word) -> &AtomicU64 {
        self.own.word(word as usize)
    }

    /// A word of ours.
    #[inline]
    pub fn get(&self, word: Word) -> u64 {
        self.own(word).load(Ordering::Acquire)
    }

    /// Sets a word of ours.
    #[inline]
    pub fn set(&self, word: Word, value: u64) {
        self.own(word).store(value, Ordering::Release);
    }

    /// A word of the other side's.
    #[inline]
    pub fn theirs(&self, word: Word) -> u64 {
        self.other.load(word as usize, Ordering::Acquire)
    }

    /// Sets a bit of our stance.
    pub fn take_stance(&self, bit: u64) {
        self.own(Word::Stance).fetch_or(bit, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether the other side's stance has a bit.
    pub fn they(&self, bit: u64) -> bool {
        self.theirs(Word::Stance) & bit != 0
    }

    /// Whether what we send goes into the ring.
    pub fn sends_by_ring(&self) -> bool {
        !self.get(Word::Mode).is_multiple_of(2)
    }

    /// Bytes in the other side's ring that we have not read. Needs no lock for a hint, the receive lock for the truth.
    #[inline]
    pub fn unread(&self) -> Result<usize, Broken> {
        let read = self.get(Word::Read);
        let written = self.theirs(Word::Written);
        let unread = written.wrapping_sub(read);
        if unread > CAPACITY {
            return Err(Broken);
        }
        Ok(unread as usize)
    }

    /// Unread bytes that are known of, without a look at the other side's words: at most what there is. Under the receive lock.
    pub fn known_unread(&self) -> usize {
        let known = self.get(Word::SeenWritten).wrapping_sub(self.get(Word::Read));
        if known > CAPACITY { 0 } else { known as usize }
    }

    /// As `unread`, and refuses a position that went back. Under the receive lock.
    pub fn checked_unread(&self) -> Result<usize, Broken> {
        let unread = self.unread()?;
        let written = self.get(Word::Read).wrapping_add(unread as u64);
        if written.wrapping_sub(self.get(Word::SeenWritten)) > CAPACITY {
            return Err(Broken);
        }
        self.set(Word::SeenWritten, written);
        Ok(unread)
    }

    /// Bytes that fit into our ring. Under the send lock.
    pub fn room(&self, wanted: usize) -> Result<usize, Broken> {
        let written = self.get(Word::Written);
        let seen = self.get(Word::SeenRead);
        let known = CAPACITY.saturating_sub(written.wrapping_sub(seen));
        if known >= wanted as u64 {
            return Ok(known as usize);
        }
        let read = self.theirs(Word::Read);
        let unread = written.wrapping_sub(read);
        if unread > CAPACITY || read.wrapping_sub(seen) > CAPACITY {
            return Err(Broken);
        }
        self.set(Word::SeenRead, read);
        Ok((CAPACITY - unread) as usize)
    }

    /// Copies `length` bytes from an address behind the written bytes, `skip` bytes further on. There is room for them. Under
    /// the send lock.
    ///
    /// # Safety
    /// `from` is valid for `length` bytes, which are not this link's. Somebody may be changing them: then some mixture is
    /// copied.
    pub unsafe fn put(&self, skip: usize, from: *const u8, length: usize) {
        let at = self.get(Word::Written).wrapping_add(skip as u64) % RING_BYTES;
        let first = length.min((RING_BYTES - at) as usize);
        let is_far = length >= FAR_BYTES && self.is_far();
        // SAFETY: both parts lie within what the caller promised.
        unsafe {
            self.put_at(at as usize, from, first, is_far);
            if first < length {
                self.put_at(0, from.add(first), length - first, is_far);
            }
        }
    }

    /// Whether the other side is known to be on another processor.
    fn is_far(&self) -> bool {
        let theirs = self.theirs(Word::Processor);
        theirs != 0 && theirs != governor::own_processor()
    }

    /// # Safety
    /// As for `put`.
    #[inline]
    unsafe fn put_at(&self, at: usize, from: *const u8, length: usize, is_far: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            if is_far {
                self.own.copy_in_past_caches(BYTES_AT + at, from, length);
            } else {
                self.own.copy_in_from(BYTES_AT + at, from, length);
            }
        }
    }

    /// Copies unread bytes out, `skip` bytes further on. There are as many. Under the receive lock.
    pub fn take(&self, skip: usize, piece: &mut [MaybeUninit<u8>]) {
        let at = self.get(Word::Read).wrapping_add(skip as u64) % RING_BYTES;
        let first = piece.len().min((RING_BYTES - at) as usize);
        let (head, tail) = piece.split_at_mut(first);
        self.other.copy_out(BYTES_AT + at as usize, head);
        if !tail.is_empty() {
            self.other.copy_out(BYTES_AT, tail);
        }
    }

    /// A run of our own ring's bytes from `position` on, at most `length`, for the kernel to read.
    pub fn own_run(&self, position: u64, length: u64) -> (*const u8, usize) {
        let at = position % RING_BYTES;
        let run = length.min(RING_BYTES - at) as usize;
        (self.own.address(BYTES_AT + at as usize, run), run)
    }

    /// Says that we are about to sleep, by a new odd value, which is returned. The caller looks once more for news before it
    /// does.
    pub fn announce(&self) -> u64 {
        let step = |value: u64| Some(value.wrapping_add(if value.is_multiple_of(2) { 1 } else { 2 }));
        let before = self.own(Word::Sleep).fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        fence(Ordering::SeqCst);
        before.map_or(0, |value| value.wrapping_add(if value.is_multiple_of(2) { 1 } else { 2 }))
    }

    /// Says that nobody sleeps any more, if nobody has announced sleep since `announced`. Only for the last sleeper of a
    /// process that has the link alone.
    pub fn awake(&self, announced: u64) {
        if self.get(Word::Shared) == 0 {
            let next = announced.wrapping_add(1);
            let _ = self.own(Word::Sleep).compare_exchange(announced, next, Ordering::SeqCst, Ordering::Relaxed);
        }
    }
}
