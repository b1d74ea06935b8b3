//! What stands around the protocol in the loom models: segments, the kernel's socket, and whoever holds an end, for one
//! thread on each side. The protocol itself (`link`, `send`, `receive`, `plain`, `readiness`) is the library's own code.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::{Arc, Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};

pub(crate) mod governor;
pub(crate) mod lock;
pub(crate) mod real;
pub(crate) mod table;
#[cfg(test)]
mod tests;

/// Bytes of the first page: words. Behind them stands the ring.
const BYTES_AT: usize = 4096;
/// Words of ours that the other side may see, and those that it may not.
const WORDS: [std::ops::Range<usize>; 2] = [128..416, 1024..1224];

/// A segment: words that loom interleaves, bytes whose races it reports.
struct Memory {
    words: BTreeMap<usize, AtomicU64>,
    bytes: Vec<UnsafeCell<u8>>,
    /// The same bytes for whoever reads them by address.
    flat: Box<[AtomicU8]>,
}

/// The side that writes it.
pub(crate) struct OwnSegment(Arc<Memory>);

/// The side that reads it.
pub(crate) struct OtherSegment(Arc<Memory>);

pub(crate) fn segment(capacity: u64) -> (OwnSegment, OtherSegment) {
    let words = WORDS.into_iter().flatten().step_by(8).map(|at| (at, AtomicU64::new(0))).collect();
    let bytes = (0..capacity).map(|_| UnsafeCell::new(0)).collect();
    let flat = (0..capacity).map(|_| AtomicU8::new(0)).collect();
    let memory = Arc::new(Memory { words, bytes, flat });
    (OwnSegment(memory.clone()), OtherSegment(memory))
}

impl OwnSegment {
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0.words[&offset]
    }

    /// # Safety
    /// `from` is valid for `len` bytes.
    pub(crate) unsafe fn copy_in_from(&self, offset: usize, from: *const u8, len: usize) {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(from, len) };
        for (place, new) in (offset - BYTES_AT..).zip(bytes) {
            // SAFETY: loom checks that nobody else touches it.
            self.0.bytes[place].with_mut(|byte| unsafe { *byte = *new });
            self.0.flat[place].store(*new, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// As for `copy_in_from`.
    pub(crate) unsafe fn copy_in_past_caches(&self, offset: usize, from: *const u8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.copy_in_from(offset, from, len) };
    }

    pub(crate) fn address(&self, offset: usize, length: usize) -> *const u8 {
        self.0.flat[offset - BYTES_AT..][..length].as_ptr().cast()
    }
}

impl OtherSegment {
    pub(crate) fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.0.words[&offset].load(order)
    }

    pub(crate) fn copy_out(&self, offset: usize, into: &mut [MaybeUninit<u8>]) {
        for (place, byte) in (offset - BYTES_AT..).zip(into) {
            // SAFETY: loom checks that nobody writes it.
            byte.write(self.0.bytes[place].with(|byte| unsafe { *byte }));
        }
    }
}

/// The kernel's part of a connection: descriptor 0 is one end and 1 the other.
struct Kernel {
    /// Bytes that an end has not received.
    queues: Mutex<[VecDeque<u8>; 2]>,
    arrived: Condvar,
    fenced: AtomicBool,
    /// Threads that sleep, by side. Not loom's: each side has one thread.
    sleepers: [AtomicU32; 2],
    /// The error of the last call, which its caller asks for before anybody else runs.
    error: AtomicI32,
}

loom::lazy_static! {
    static ref KERNEL: Kernel = Kernel {
        queues: Mutex::new([VecDeque::new(), VecDeque::new()]),
        arrived: Condvar::new(),
        fenced: AtomicBool::new(true),
        sleepers: [AtomicU32::new(0), AtomicU32::new(0)],
        error: AtomicI32::new(0),
    };
}

/// Threads of the calling thread's side that sleep: loom's first thread is one side, the second the other.
pub(crate) fn sleepers() -> &'static AtomicU32 {
    SIDE.with(|side| &KERNEL.sleepers[side.get()])
}

/// In the second thread of a model.
#[cfg(test)]
fn second_side() {
    SIDE.with(|side| side.set(1));
}

loom::thread_local! {
    /// 0 in the first thread; the second sets it.
    static SIDE: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

/// In a model that must fail.
#[cfg(test)]
fn without_fences() {
    KERNEL.fenced.store(false, Ordering::Relaxed);
}

pub(crate) fn fence(order: Ordering) {
    if KERNEL.fenced.load(Ordering::Relaxed) {
        loom::sync::atomic::fence(order);
    }
}
