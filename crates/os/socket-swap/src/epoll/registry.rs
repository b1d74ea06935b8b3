//! The registrations, in a pool of fixed size under one lock.

use crate::{lock, table};
use libc::epoll_event;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Registrations that a process can follow. A connection beyond it goes back to its socket.
const REGISTRATIONS_MAX: usize = 16384;

/// A descriptor of ours in a set.
#[derive(Clone, Copy)]
pub(super) struct Registration {
    pub(super) next: u16,
    pub(super) set: i32,
    pub(super) fd: i32,
    /// What the program asked for.
    pub(super) events: u32,
    pub(super) data: u64,
    /// Whether the program still has it in the set. If not, the kernel has yet to be told.
    pub(super) is_wanted: bool,
    /// What the kernel was told last.
    pub(super) told: (u32, u64),
    /// The write position that was reported last, for edge-triggered ones.
    pub(super) reported: Option<u64>,
    /// What was announced before the last sleep.
    pub(super) announced: u64,
    /// Its one event was given out. `Removed`: by us, and the kernel does not have it; `Silenced`: by the kernel.
    pub(super) spent: Spent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    No,
    Removed,
    Silenced,
}

struct Registry {
    pool: UnsafeCell<[Registration; REGISTRATIONS_MAX]>,
    free: UnsafeCell<u16>,
}

// SAFETY: touched under `LOCK` only.
unsafe impl Sync for Registry {}

const UNUSED: Registration = Registration {
    next: 0,
    set: -1,
    fd: -1,
    events: 0,
    data: 0,
    is_wanted: false,
    told: (0, 0),
    reported: None,
    announced: 0,
    spent: Spent::No,
};
static REGISTRY: Registry = Registry { pool: UnsafeCell::new([UNUSED; REGISTRATIONS_MAX]), free: UnsafeCell::new(0) };
static LOCK: AtomicU64 = AtomicU64::new(0);
/// Places of the pool that were ever used; place 0 never is.
static USED: AtomicU32 = AtomicU32::new(1);
/// The first registration of the set with this descriptor, or 0.
static HEADS: [AtomicU16; table::DESCRIPTORS_MAX] = [const { AtomicU16::new(0) }; table::DESCRIPTORS_MAX];
/// Above the highest descriptor of a set.
static ABOVE_SETS: AtomicU32 = AtomicU32::new(0);
/// Registrations of a descriptor.
static COUNTS: [AtomicU16; table::DESCRIPTORS_MAX] = [const { AtomicU16::new(0) }; table::DESCRIPTORS_MAX];
/// Where the registration of a descriptor was found last: mostly it is in one set.
static HINTS: [AtomicU16; table::DESCRIPTORS_MAX] = [const { AtomicU16::new(0) }; table::DESCRIPTORS_MAX];

/// The registry, locked.
pub(crate) struct Locked {
    _held: lock::Held<'static>,
}

/// Takes the lock. `None`: a signal handler interrupted this thread while it held it.
pub(crate) fn locked() -> Option<Locked> {
    Some(Locked { _held: lock::acquire(&LOCK)? })
}

/// The first registration of a set, or 0.
#[inline]
pub(super) fn first(set: i32) -> u16 {
    HEADS.get(set as usize).map_or(0, |head| head.load(Ordering::Acquire))
}

/// Whether sets watch this descriptor.
pub(crate) fn is_watched(fd: i32) -> bool {
    COUNTS.get(fd as usize).is_some_and(|count| count.load(Ordering::Acquire) != 0)
}

/// Sets that watch descriptors of ours.
pub(super) fn sets() -> impl Iterator<Item = i32> {
    (0..ABOVE_SETS.load(Ordering::Acquire) as i32).filter(|set| first(*set) != 0)
}

impl Locked {
    pub(super) fn entry(&mut self, place: u16) -> &mut Registration {
        // SAFETY: the lock is held for as long as the result can live, and nobody else makes references.
        unsafe { &mut (*REGISTRY.pool.get())[place as usize % REGISTRATIONS_MAX] }
    }

    pub(super) fn place_of(&mut self, set: i32, fd: i32) -> Option<u16> {
        let hint = HINTS.get(fd as usize)?;
        let hinted = hint.load(Ordering::Relaxed);
        let entry = *self.entry(hinted);
        if hinted != 0 && entry.set == set && entry.fd == fd {
            return Some(hinted);
        }
        let mut place = first(set);
        while place != 0 {
            let entry = *self.entry(place);
            if entry.fd == fd {
                hint.store(place, Ordering::Relaxed);
                return Some(place);
            }
            place = entry.next;
        }
        None
    }

    pub(super) fn insert(&mut self, set: i32, fd: i32, event: epoll_event) -> bool {
        let Some(head) = HEADS.get(set as usize) else { return false };
        // SAFETY: under the lock.
        let free = unsafe { &mut *REGISTRY.free.get() };
        let place = if *free != 0 {
            let place = *free;
            *free = self.entry(place).next;
            place
        } else {
            let fresh = USED.load(Ordering::Relaxed);
            if fresh as usize >= REGISTRATIONS_MAX {
                return false;
            }
            USED.store(fresh + 1, Ordering::Relaxed);
            fresh as u16
        };
        let next = head.load(Ordering::Relaxed);
        let (events, data) = (event.events, event.u64);
        let told = (events, data);
        *self.entry(place) = Registration { next, set, fd, events, data, is_wanted: true, told, ..UNUSED };
        ABOVE_SETS.fetch_max(set as u32 + 1, Ordering::AcqRel);
        head.store(place, Ordering::Release);
        COUNTS[fd as usize % COUNTS.len()].fetch_add(1, Ordering::AcqRel);
        true
    }

    pub(super) fn remove(&mut self, set: i32, fd: i32) {
        let (mut before, mut place) = (0, first(set));
        while place != 0 {
            let next = self.entry(place).next;
            if self.entry(place).fd == fd {
                self.unlink(set, before, place);
                return;
            }
            (before, place) = (place, next);
        }
    }

    /// Takes a registration, which stands behind `before`, out of its set.
    pub(super) fn unlink(&mut self, set: i32, before: u16, place: u16) {
        let next = self.entry(place).next;
        self.join(set, before, next);
        self.give(place);
    }

    /// Makes `next` the one behind `before`, or the first.
    pub(super) fn join(&mut self, set: i32, before: u16, next: u16) {
        if before != 0 {
            self.entry(before).next = next;
        } else if let Some(head) = HEADS.get(set as usize) {
            head.store(next, Ordering::Release);
        }
    }

    /// Forgets all registrations of a set.
    pub(super) fn clear(&mut self, set: i32) {
        let mut place = HEADS.get(set as usize).map_or(0, |head| head.swap(0, Ordering::AcqRel));
        while place != 0 {
            let next = self.entry(place).next;
            self.give(place);
            place = next;
        }
    }

    fn give(&mut self, place: u16) {
        COUNTS[self.entry(place).fd as usize % COUNTS.len()].fetch_sub(1, Ordering::AcqRel);
        // SAFETY: under the lock.
        let free = unsafe { &mut *REGISTRY.free.get() };
        *self.entry(place) = Registration { next: *free, ..UNUSED };
        *free = place;
    }

    /// The only registration of the set with this data, if it is the only one.
    pub(super) fn by_data(&mut self, set: i32, data: u64) -> Option<u16> {
        let mut found = None;
        let mut place = first(set);
        while place != 0 {
            let entry = *self.entry(place);
            if entry.data == data && entry.is_wanted {
                if found.is_some() {
                    return None;
                }
                found = Some(place);
            }
            place = entry.next;
        }
        found
    }

    /// A set that watches this descriptor.
    pub(super) fn any_set_of(&mut self, fd: i32) -> Option<i32> {
        let used = USED.load(Ordering::Relaxed) as u16;
        (1..used).find(|place| self.entry(*place).fd == fd).map(|place| self.entry(place).set)
    }
}
