//! How many processes hold an end of a connection that is not swapped yet.
//!
//! Such a connection may be swapped only by a process that has it alone, since another would go on with the bare socket. The
//! counts lie in memory that all processes forked from the first one share: `fork` raises them, `close` lowers them. A
//! process that ends without closing leaves a count too high, which keeps the connection plain.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Counts there are. When all are taken, further connections stay plain.
const HOLDERS_MAX: usize = 65536;
/// Counts that are looked at for a free one, before a connection is given up.
const SEARCH_MAX: usize = 256;

static COUNTS: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A count, by its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holders(u32);

impl Holders {
    /// Takes a free count and sets it to one. `None`: none is free.
    pub(crate) fn take() -> Option<Self> {
        let counts = counts()?;
        for _ in 0..SEARCH_MAX {
            let place = NEXT.fetch_add(1, Ordering::Relaxed) % HOLDERS_MAX as u32;
            if counts[place as usize].compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some(Self(place));
            }
        }
        None
    }

    /// One process more.
    pub(crate) fn add(self) {
        if let Some(counts) = counts() {
            counts[self.0 as usize].fetch_add(1, Ordering::AcqRel);
        }
    }

    /// One process less.
    pub(crate) fn remove(self) {
        if let Some(counts) = counts() {
            counts[self.0 as usize].fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether this process holds the connection alone.
    pub(crate) fn is_alone(self) -> bool {
        counts().is_some_and(|counts| counts[self.0 as usize].load(Ordering::Acquire) == 1)
    }

    /// The place, for storage in an atomic.
    pub(crate) fn place(self) -> u32 {
        self.0
    }

    /// The count at a place that `take` gave.
    pub(crate) fn at(place: u32) -> Self {
        Self(place % HOLDERS_MAX as u32)
    }
}

fn counts() -> Option<&'static [AtomicU32]> {
    let mut base = COUNTS.load(Ordering::Acquire);
    if base.is_null() {
        let bytes = HOLDERS_MAX * size_of::<AtomicU32>();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: fresh memory at an address that the kernel chooses.
        let made = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        if made == libc::MAP_FAILED {
            return None;
        }
        match COUNTS.compare_exchange(base, made.cast(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => base = made.cast(),
            Err(other) => {
                // SAFETY: nobody has seen this mapping.
                unsafe { libc::munmap(made, bytes) };
                base = other;
            }
        }
    }
    // SAFETY: a mapping of exactly this many counts, zeroed by the kernel, that is never removed.
    Some(unsafe { std::slice::from_raw_parts(base, HOLDERS_MAX) })
}
