//! Which descriptors lead to the same set. Registrations are kept under one of them; runtimes such as tokio register through a
//! copy of the descriptor that they wait on.

use super::registry::Locked;
use super::{MARKS_OF_SETS, is_set, mark, watched_by_others};
use crate::table::DESCRIPTORS_MAX;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Descriptors that are known to be sets.
static SETS: [AtomicBool; DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; DESCRIPTORS_MAX];
/// For a copy, the descriptor under which its set is kept, plus one. For others 0.
static KEPT_UNDER: [AtomicU32; DESCRIPTORS_MAX] = [const { AtomicU32::new(0) }; DESCRIPTORS_MAX];
/// Descriptors under which sets with copies are kept.
static HAS_COPIES: [AtomicBool; DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; DESCRIPTORS_MAX];
/// Above the highest copy there ever was.
static ABOVE_COPIES: AtomicU32 = AtomicU32::new(0);

/// A new set, or what is seen to be one.
pub(crate) fn is_one(set: i32) {
    mark(&SETS, set, true);
}

/// The descriptor under which a set is kept.
#[inline]
pub(crate) fn kept_under(set: i32) -> i32 {
    match KEPT_UNDER.get(set as usize).map_or(0, |cell| cell.load(Ordering::Acquire)) {
        0 => set,
        found => found as i32 - 1,
    }
}

/// Whether this descriptor is a set, or may be a copy of one.
#[inline]
pub(super) fn is_known(fd: i32) -> bool {
    is_set(&SETS, fd)
}

/// A descriptor was duplicated. If it is a set, both lead to it from now on.
pub(crate) fn copied(from: i32, to: i32) {
    if !is_set(&SETS, from) {
        return;
    }
    let under = kept_under(from);
    let Some(cell) = KEPT_UNDER.get(to as usize) else {
        watched_by_others(under);
        return;
    };
    mark(&SETS, to, true);
    mark(&HAS_COPIES, under, true);
    ABOVE_COPIES.fetch_max(to as u32 + 1, Ordering::AcqRel);
    cell.store(under as u32 + 1, Ordering::Release);
}

/// What closing a descriptor means for the set behind it.
pub(super) enum Closing {
    /// The set goes on under another descriptor.
    OfCopy,
    /// The set goes, or there is none.
    OfLast,
}

/// A descriptor is about to be closed.
pub(super) fn closing(fd: i32) -> Closing {
    mark(&SETS, fd, false);
    if KEPT_UNDER.get(fd as usize).is_some_and(|cell| cell.swap(0, Ordering::AcqRel) != 0) {
        return Closing::OfCopy;
    }
    if !is_set(&HAS_COPIES, fd) {
        return Closing::OfLast;
    }
    mark(&HAS_COPIES, fd, false);
    let above = ABOVE_COPIES.load(Ordering::Acquire) as i32;
    let mut copies = (0..above).filter(|copy| kept_under(*copy) == fd && *copy != fd);
    let Some(heir) = copies.next() else { return Closing::OfLast };
    KEPT_UNDER[heir as usize].store(0, Ordering::Release);
    for other in copies {
        mark(&HAS_COPIES, heir, true);
        KEPT_UNDER[other as usize].store(heir as u32 + 1, Ordering::Release);
    }
    for marks in MARKS_OF_SETS {
        mark(marks, heir, is_set(marks, fd));
    }
    match super::locked() {
        Some(mut locked) => locked.move_all(fd, heir),
        // A handler of signals that interrupted somebody who looks at the rings of a set: its connections become plain.
        None => mark(&super::WATCHED, heir, true),
    }
    Closing::OfCopy
}

impl Locked {
    /// Keeps the registrations of a set under another descriptor, which has none.
    fn move_all(&mut self, set: i32, heir: i32) {
        let first = super::first(set);
        let mut place = first;
        while place != 0 {
            let entry = self.entry(place);
            entry.set = heir;
            place = entry.next;
        }
        self.join(heir, 0, first);
        self.join(set, 0, 0);
    }
}
