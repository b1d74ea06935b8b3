//! Which descriptors of ours an epoll set watches, so that their rings are looked at before the set is waited for.
//!
//! The kernel keeps the set and reports doorbells, other descriptors and ends as always. What is added here: rings that can
//! be read before sleeping, and the suppression of a doorbell whose news have been read already.

use crate::link::{Link, Word};
use crate::table;
use crate::{lock, readiness, real};
use libc::{c_int, epoll_event};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Registrations that a process can follow. A connection beyond it goes back to its socket.
const REGISTRATIONS_MAX: usize = 16384;
/// Events that can mean "there is data".
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

#[derive(Clone, Copy)]
struct Registration {
    next: u16,
    set: i32,
    fd: i32,
    events: u32,
    data: u64,
    /// The write position that was reported last, for edge-triggered ones.
    reported: Option<u64>,
    /// What was announced before the last sleep.
    announced: u64,
    /// Its one event was given out. `Removed`: by us, and the kernel does not have it; `Silenced`: by the kernel.
    spent: Spent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spent {
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

const UNUSED: Registration =
    Registration { next: 0, set: -1, fd: -1, events: 0, data: 0, reported: None, announced: 0, spent: Spent::No };
static REGISTRY: Registry = Registry { pool: UnsafeCell::new([UNUSED; REGISTRATIONS_MAX]), free: UnsafeCell::new(0) };
static LOCK: AtomicU64 = AtomicU64::new(0);
/// Places of the pool that were ever used; place 0 never is.
static USED: AtomicU32 = AtomicU32::new(1);
/// The first registration of the set with this descriptor, or 0.
static HEADS: [AtomicU16; table::DESCRIPTORS_MAX] = [const { AtomicU16::new(0) }; table::DESCRIPTORS_MAX];
/// Registrations of a descriptor.
static COUNTS: [AtomicU16; table::DESCRIPTORS_MAX] = [const { AtomicU16::new(0) }; table::DESCRIPTORS_MAX];
/// Descriptors that others wait for: a set among them must not have rings, which those others do not see.
static WATCHED: [AtomicBool; table::DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; table::DESCRIPTORS_MAX];

/// The registry, locked.
pub(crate) struct Locked {
    _held: lock::Held<'static>,
}

/// Takes the lock. `None`: a signal handler interrupted this thread while it held it.
pub(crate) fn locked() -> Option<Locked> {
    Some(Locked { _held: lock::acquire(&LOCK)? })
}

impl Locked {
    fn entry(&mut self, place: u16) -> &mut Registration {
        // SAFETY: the lock is held for as long as the result can live, and nobody else makes references.
        unsafe { &mut (*REGISTRY.pool.get())[place as usize % REGISTRATIONS_MAX] }
    }

    fn place_of(&mut self, set: i32, fd: i32) -> Option<u16> {
        let mut place = HEADS.get(set as usize)?.load(Ordering::Relaxed);
        while place != 0 {
            let entry = *self.entry(place);
            if entry.fd == fd {
                return Some(place);
            }
            place = entry.next;
        }
        None
    }

    fn insert(&mut self, set: i32, fd: i32, event: epoll_event) -> bool {
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
        *self.entry(place) =
            Registration { next, set, fd, events, data, reported: None, announced: 0, spent: Spent::No };
        head.store(place, Ordering::Release);
        COUNTS[fd as usize % COUNTS.len()].fetch_add(1, Ordering::AcqRel);
        true
    }

    fn remove(&mut self, set: i32, fd: i32) {
        let Some(head) = HEADS.get(set as usize) else { return };
        let (mut before, mut place) = (0, head.load(Ordering::Relaxed));
        while place != 0 {
            let next = self.entry(place).next;
            if self.entry(place).fd == fd {
                if before == 0 {
                    head.store(next, Ordering::Release);
                } else {
                    self.entry(before).next = next;
                }
                self.give(place);
                return;
            }
            (before, place) = (place, next);
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
    fn by_data(&mut self, set: i32, data: u64) -> Option<u16> {
        let mut found = None;
        let mut place = HEADS.get(set as usize)?.load(Ordering::Relaxed);
        while place != 0 {
            let entry = *self.entry(place);
            if entry.data == data {
                if found.is_some() {
                    return None;
                }
                found = Some(place);
            }
            place = entry.next;
        }
        found
    }
}

/// Whether a set watches descriptors of ours.
#[inline]
pub(crate) fn is_followed(set: i32) -> bool {
    HEADS.get(set as usize).is_some_and(|head| head.load(Ordering::Acquire) != 0)
}

/// `epoll_ctl`.
pub(crate) fn control(
    set: c_int,
    operation: c_int,
    fd: c_int,
    event: Option<epoll_event>,
    ask: impl Fn(c_int) -> c_int,
) -> c_int {
    if !table::has(fd) && !is_watched(fd) {
        if operation == libc::EPOLL_CTL_ADD {
            watched_by_others(fd);
        }
        return ask(operation);
    }
    let Some(mut locked) = locked() else { return ask(operation) };
    let place = locked.place_of(set, fd);
    let removed = place.is_some_and(|place| locked.entry(place).spent == Spent::Removed);
    // The kernel does not have what we removed after its one event; the program does not know that.
    let answer = match operation {
        libc::EPOLL_CTL_MOD if removed => ask(libc::EPOLL_CTL_ADD),
        libc::EPOLL_CTL_DEL if removed => 0,
        libc::EPOLL_CTL_ADD if removed => {
            real::set_errno(libc::EEXIST);
            return -1;
        }
        _ => ask(operation),
    };
    if answer < 0 {
        return answer;
    }
    let followed = match (operation, event, place) {
        (libc::EPOLL_CTL_DEL, ..) => {
            locked.remove(set, fd);
            true
        }
        (libc::EPOLL_CTL_ADD, Some(event), _) => event.events & EXCLUSIVE == 0 && locked.insert(set, fd, event),
        (libc::EPOLL_CTL_MOD, Some(event), Some(place)) => {
            let entry = locked.entry(place);
            (entry.events, entry.data) = (event.events, event.u64);
            (entry.reported, entry.spent) = (None, Spent::No);
            true
        }
        _ => false,
    };
    drop(locked);
    let set_is_watched = WATCHED.get(set as usize).is_some_and(|watched| watched.load(Ordering::Relaxed));
    if !followed || set_is_watched {
        table::leave(fd);
    }
    answer
}

/// Something waits for this descriptor that does not look at rings behind it. If it is a set, its connections go back.
pub(crate) fn watched_by_others(set: i32) {
    let Some(watched) = WATCHED.get(set as usize) else { return };
    watched.store(true, Ordering::Relaxed);
    leave_all(set);
}

/// All connections of a set go back to their sockets.
pub(crate) fn leave_all(set: i32) {
    let Some(head) = HEADS.get(set as usize) else { return };
    let mut skip = 0;
    while head.load(Ordering::Acquire) != 0 {
        let Some(mut locked) = locked() else { return };
        let mut place = head.load(Ordering::Relaxed);
        for _ in 0..skip {
            place = locked.entry(place).next;
        }
        if place == 0 {
            return;
        }
        let fd = locked.entry(place).fd;
        drop(locked);
        table::leave(fd);
        skip += 1;
    }
}

/// Whether something is known of this descriptor, as a set or as one that sets watch.
#[inline]
pub(crate) fn concerns(fd: i32) -> bool {
    is_followed(fd) || is_watched(fd) || WATCHED.get(fd as usize).is_some_and(|watched| watched.load(Ordering::Relaxed))
}

/// A descriptor is about to be closed: as a set, or as one that sets watch.
pub(crate) fn closing(fd: i32) {
    let Some(head) = HEADS.get(fd as usize) else { return };
    WATCHED[fd as usize].store(false, Ordering::Relaxed);
    if head.load(Ordering::Acquire) != 0
        && let Some(mut locked) = locked()
    {
        let mut place = head.swap(0, Ordering::AcqRel);
        while place != 0 {
            let next = locked.entry(place).next;
            locked.give(place);
            place = next;
        }
    }
    if is_watched(fd) {
        closing_watched(fd);
    }
}

/// Whether sets watch this descriptor.
pub(crate) fn is_watched(fd: i32) -> bool {
    COUNTS.get(fd as usize).is_some_and(|count| count.load(Ordering::Acquire) != 0)
}

fn closing_watched(fd: i32) {
    if let Some(found) = table::find(fd)
        && found.descriptors.load(Ordering::Acquire) > 1
    {
        // The kernel goes on watching for as long as another descriptor leads to the same socket.
        table::go_plain(&found, fd);
    }
    let Some(mut locked) = locked() else { return };
    for place in 1..USED.load(Ordering::Relaxed) as u16 {
        if locked.entry(place).fd == fd {
            let set = locked.entry(place).set;
            locked.remove(set, fd);
            if !is_watched(fd) {
                return;
            }
        }
    }
}

/// Whether any ring of the set can be read. Takes the lock only if it is free at once.
pub(crate) fn any_ready(set: i32) -> bool {
    for_each(set, |entry, link| entry.reported != Some(link.theirs(Word::Written)) || entry.events & EDGE == 0)
}

/// Whether any connection of the set is linked. If not, there are no rings to look at.
pub(crate) fn any_linked(set: i32) -> bool {
    let Some(mut locked) = locked() else { return false };
    let mut place = HEADS[set as usize].load(Ordering::Relaxed);
    while place != 0 {
        let entry = *locked.entry(place);
        if table::find(entry.fd).is_some_and(|found| found.link().is_some()) {
            return true;
        }
        place = entry.next;
    }
    false
}

/// The processor to expect news from through a ring of the set, as [`readiness::Expected`] tells.
pub(crate) fn expected(set: i32) -> readiness::Expected {
    let mut expected = readiness::Expected::Nothing;
    let Some(mut locked) = locked() else { return expected };
    let mut place = HEADS[set as usize].load(Ordering::Relaxed);
    while place != 0 {
        let entry = *locked.entry(place);
        if let Some(found) = table::find(entry.fd)
            && let Some(link) = found.link()
        {
            expected.add(link);
        }
        place = entry.next;
    }
    expected
}

/// Says for every ring of the set that a thread is about to sleep.
pub(crate) fn announce(set: i32) {
    let Some(mut locked) = locked() else { return };
    let mut place = HEADS[set as usize].load(Ordering::Relaxed);
    while place != 0 {
        let entry = *locked.entry(place);
        if entry.events & READABLE != 0
            && let Some(found) = table::find(entry.fd)
            && let Some(link) = found.link()
        {
            locked.entry(place).announced = link.announce();
            // After it: who wants the plain socket rings whoever has announced sleep.
            crate::plain::honour(&found, link, entry.fd);
        }
        place = entry.next;
    }
}

/// Says for every ring of the set that nobody sleeps any more. Only for the last sleeper.
pub(crate) fn awake(set: i32) {
    let Some(mut locked) = locked() else { return };
    let mut place = HEADS[set as usize].load(Ordering::Relaxed);
    while place != 0 {
        let entry = *locked.entry(place);
        if entry.announced != 0
            && let Some(found) = table::find(entry.fd)
            && let Some(link) = found.link()
        {
            link.awake(entry.announced);
        }
        place = entry.next;
    }
}

fn for_each(set: i32, wanted: impl Fn(&Registration, &Link) -> bool) -> bool {
    let Some(mut locked) = locked() else { return false };
    let mut place = HEADS[set as usize].load(Ordering::Relaxed);
    while place != 0 {
        let entry = *locked.entry(place);
        if entry.spent == Spent::No
            && entry.events & READABLE != 0
            && let Some(found) = table::find(entry.fd)
            && let Some(link) = found.link()
            && readiness::has_unread(link)
            && wanted(&entry, link)
        {
            return true;
        }
        place = entry.next;
    }
    false
}

/// Reports rings that can be read. Returns how many events were written.
pub(crate) fn scan(set: i32, events: &mut [epoll_event]) -> usize {
    let Some(mut locked) = locked() else { return 0 };
    let head = &HEADS[set as usize];
    let (mut before, mut place) = (0, head.load(Ordering::Relaxed));
    let (mut count, mut first_given, mut last_given) = (0, 0, 0);
    while place != 0 && count < events.len() {
        let entry = *locked.entry(place);
        let next = entry.next;
        match report(&mut locked, set, place) {
            Some(event) => {
                events[count] = event;
                count += 1;
                // Those that were reported go to the end, so that all have their turn when there is little room.
                if before == 0 {
                    head.store(next, Ordering::Release);
                } else {
                    locked.entry(before).next = next;
                }
                locked.entry(place).next = 0;
                if first_given == 0 {
                    first_given = place;
                } else {
                    locked.entry(last_given).next = place;
                }
                last_given = place;
            }
            None => before = place,
        }
        place = next;
    }
    while place != 0 {
        before = place;
        place = locked.entry(place).next;
    }
    if first_given != 0 {
        if before == 0 {
            head.store(first_given, Ordering::Release);
        } else {
            locked.entry(before).next = first_given;
        }
    }
    count
}

fn report(locked: &mut Locked, set: i32, place: u16) -> Option<epoll_event> {
    let entry = *locked.entry(place);
    if entry.spent != Spent::No || entry.events & READABLE == 0 {
        return None;
    }
    let found = table::find(entry.fd)?;
    let link = found.link()?;
    if !readiness::has_unread(link) {
        return None;
    }
    let written = link.theirs(Word::Written);
    if entry.events & EDGE != 0 && entry.reported == Some(written) {
        return None;
    }
    locked.entry(place).reported = Some(written);
    if entry.events & ONCE != 0 {
        // SAFETY: removal needs no event.
        if unsafe { real::epoll_ctl(set, libc::EPOLL_CTL_DEL, entry.fd, std::ptr::null_mut()) } < 0 {
            return None;
        }
        locked.entry(place).spent = Spent::Removed;
    }
    let mut events = entry.events & READABLE;
    let others = entry.events & !READABLE & 0xffff;
    if others != 0 {
        // Low bits of poll and epoll are the same.
        let more = readiness::kernel_events(entry.fd, others as i16) as u16;
        events |= u32::from(more) & !READABLE;
    }
    Some(epoll_event { events, u64: entry.data })
}

/// Takes out of the kernel's events what is only a doorbell. `scanned`: events of the same wait that [`scan`] wrote, into
/// which further bits of the same registration are merged. Returns how many are left.
pub(crate) fn filter(set: i32, scanned: &mut [epoll_event], events: &mut [epoll_event]) -> usize {
    let mut kept = 0;
    for index in 0..events.len() {
        if let Some(event) = judge(set, scanned, events[index]) {
            events[kept] = event;
            kept += 1;
        }
    }
    kept
}

fn judge(set: i32, scanned: &mut [epoll_event], mut event: epoll_event) -> Option<epoll_event> {
    let data = event.u64;
    let (place, entry) = {
        let Some(mut locked) = locked() else { return Some(event) };
        let Some(place) = locked.by_data(set, data) else { return Some(event) };
        let entry = *locked.entry(place);
        if entry.spent != Spent::No {
            return None;
        }
        if entry.events & ONCE != 0 {
            locked.entry(place).spent = Spent::Silenced;
        }
        (place, entry)
    };
    let already = scanned.iter_mut().find(|scanned| scanned.u64 == data);
    if let Some(already) = already {
        already.events |= event.events & !READABLE;
        return None;
    }
    let Some(found) = table::find(entry.fd) else { return Some(event) };
    let Some(link) = found.link() else { return Some(event) };
    let written = link.theirs(Word::Written);
    let known = entry.events & EDGE != 0 && entry.reported == Some(written);
    if event.events & READABLE == 0 {
        // The kernel does not know what is in the ring.
        if entry.events & READABLE != 0 && !known && readiness::has_unread(link) {
            event.events |= entry.events & READABLE;
            if let Some(mut locked) = locked() {
                locked.entry(place).reported = Some(written);
            }
        }
        return Some(event);
    }
    let true_news = readiness::is_truly_readable(&found, entry.fd);
    let is_old = || known && readiness::kernel_events(entry.fd, libc::POLLIN) == 0;
    if true_news && !is_old() {
        if let Some(mut locked) = locked() {
            locked.entry(place).reported = Some(written);
        }
        return Some(event);
    }
    event.events &= !READABLE;
    // Being writable is news only together with something else.
    let idle = event.events & !(libc::EPOLLOUT | libc::EPOLLWRNORM | libc::EPOLLWRBAND) as u32 == 0;
    if event.events != 0 && !(idle && entry.events & EDGE != 0) {
        return Some(event);
    }
    if entry.events & ONCE != 0 {
        arm_again(set, place, &entry);
    }
    None
}

/// The kernel gave out the one event for a doorbell: it gets its registration back.
fn arm_again(set: i32, place: u16, entry: &Registration) {
    let Some(mut locked) = locked() else { return };
    let mut event = epoll_event { events: entry.events, u64: entry.data };
    // SAFETY: the event lives here.
    if unsafe { real::epoll_ctl(set, libc::EPOLL_CTL_MOD, entry.fd, &mut event) } == 0 {
        locked.entry(place).spent = Spent::No;
    }
}
