//! Descriptors that this library keeps for itself for a while: doors, and copies of what was closed in the middle of a call.
//!
//! They are numbered high and closed on `exec`. Programs that close everything they do not know close these too, and may
//! then get the same number for something else, so it is noticed when that happens.

use crate::table::DESCRIPTORS_MAX;
use crate::{connection, real};
use libc::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lowest number of them, so that they stand in no program's way.
const LOWEST: c_int = 512;
const WORD_BITS: usize = u64::BITS as usize;

/// A bit for each.
static MARKS: [AtomicU64; DESCRIPTORS_MAX / WORD_BITS] = [const { AtomicU64::new(0) }; DESCRIPTORS_MAX / WORD_BITS];

fn mark_of(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let place = usize::try_from(fd).ok()?;
    Some((MARKS.get(place / WORD_BITS)?, 1 << (place % WORD_BITS)))
}

/// A copy of a descriptor with a number of its own among them. `None`: the process has no more descriptors.
pub(crate) fn copy(fd: c_int) -> Option<c_int> {
    // SAFETY: asks for a copy.
    let copy = unsafe { real::fcntl(fd, libc::F_DUPFD_CLOEXEC, LOWEST as usize) };
    if copy < 0 {
        return None;
    }
    crate::table::forget_stale(copy);
    if let Some((word, bit)) = mark_of(copy) {
        word.fetch_or(bit, Ordering::AcqRel);
    }
    Some(copy)
}

/// Closes one of them.
pub(crate) fn close(fd: c_int) {
    forget(fd);
    // SAFETY: the descriptor is ours.
    unsafe { real::close(fd) };
}

fn forget(fd: c_int) {
    if let Some((word, bit)) = mark_of(fd) {
        word.fetch_and(!bit, Ordering::AcqRel);
    }
}

/// Whether a number is one of them.
#[inline]
pub(crate) fn has(fd: c_int) -> bool {
    fd >= LOWEST && mark_of(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// The program closes or replaces one of them: nobody may use it any more.
pub(crate) fn closing(fd: c_int) {
    forget(fd);
    connection::lost(fd);
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = c_int> {
    (LOWEST..DESCRIPTORS_MAX as c_int).filter(|fd| has(*fd))
}
