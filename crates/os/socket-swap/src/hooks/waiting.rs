//! `poll` and `select`.

use super::hooks;
use crate::readiness::Expected;
use crate::{epoll, governor, plain, readiness, real, table};
use libc::{c_int, fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};
use std::time::{Duration, Instant};

/// Events that can mean "there is data".
const READABLE: i16 = libc::POLLIN | libc::POLLRDNORM;
/// Events that mean "there is room".
const WRITABLE: i16 = libc::POLLOUT | libc::POLLWRNORM;
/// Events that a connection whose other side sends by its ring, and has not left, does not have.
const ENDS: i16 = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLPRI | libc::POLLRDBAND;
/// Entries whose announcements of sleep are taken back. The other sides of further ones ring once more than they need.
const TAKEN_BACK_MAX: usize = 64;

/// How long a call may still wait.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    end: Option<Instant>,
    is_zero: bool,
}

impl Limit {
    /// `None`: for ever.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        let end = limit.map(|limit| Instant::now().checked_add(limit)).unwrap_or(None);
        Self { end, is_zero: limit.is_some_and(|limit| limit.is_zero()) }
    }

    /// What is left; `None`: for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Whether the call must not wait.
    pub(super) fn is_zero(&self) -> bool {
        self.is_zero
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }
}

/// From milliseconds, of which negative ones mean "for ever".
pub(super) fn from_milliseconds(limit: c_int) -> Option<Duration> {
    u64::try_from(limit).ok().map(Duration::from_millis)
}

/// In milliseconds, rounded up as a wait must not be shorter.
pub(super) fn to_milliseconds(left: Option<Duration>) -> c_int {
    left.map_or(-1, |left| c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX))
}

/// # Safety
/// `limit` is null or points to a time.
pub(super) unsafe fn from_timespec(limit: *const timespec) -> Option<Duration> {
    // SAFETY: the caller's promise.
    let limit = unsafe { limit.as_ref() }?;
    Some(Duration::new(limit.tv_sec.max(0).unsigned_abs(), limit.tv_nsec.clamp(0, 999_999_999) as u32))
}

/// The kernel's form of what is left.
pub(super) fn to_timespec(left: Duration) -> timespec {
    timespec { tv_sec: left.as_secs() as libc::time_t, tv_nsec: left.subsec_nanos().into() }
}

hooks! {
    fn poll(entries: *mut pollfd, count: nfds_t, limit: c_int) -> c_int {
        // SAFETY: the program's entries.
        unsafe {
            if !follows_any(entries, count) {
                return real::poll(entries, count, limit);
            }
            wait(entries, count, from_milliseconds(limit), |left| real::poll(entries, count, to_milliseconds(left)))
        }
    }

    fn __poll_chk(entries: *mut pollfd, count: nfds_t, limit: c_int, _room: size_t) -> c_int {
        // SAFETY: the program's call.
        unsafe { poll(entries, count, limit) }
    }

    fn ppoll(entries: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t) -> c_int {
        // SAFETY: the program's entries, time and mask.
        unsafe {
            if !follows_any(entries, count) {
                return real::ppoll(entries, count, limit, mask);
            }
            wait(entries, count, from_timespec(limit), |left| {
                let left = left.map(to_timespec);
                real::ppoll(entries, count, left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref), mask)
            })
        }
    }

    fn __ppoll_chk(entries: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t, _room: size_t) -> c_int {
        // SAFETY: the program's call.
        unsafe { ppoll(entries, count, limit, mask) }
    }

    fn select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, limit: *mut timeval) -> c_int {
        // SAFETY: the program's sets and time.
        unsafe {
            if !set_follows_any(count, read) {
                return real::select(count, read, write, except, limit);
            }
            let wanted = limit.as_ref().map(|limit| {
                Duration::new(limit.tv_sec.max(0).unsigned_abs(), limit.tv_usec.clamp(0, 999_999) as u32 * 1000)
            });
            let mut sets = Sets::new(count, [read, write, except]);
            let bound = Limit::new(wanted);
            let answer = sets.wait(bound, |sets, left| {
                let mut left = left.map(|left| timeval { tv_sec: left.as_secs() as i64, tv_usec: left.subsec_micros().into() });
                let left = left.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
                real::select(count, sets[0], sets[1], sets[2], left)
            });
            if let (Some(limit), Some(left)) = (limit.as_mut(), bound.left()) {
                *limit = timeval { tv_sec: left.as_secs() as i64, tv_usec: left.subsec_micros().into() };
            }
            answer
        }
    }

    fn pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set, limit: *const timespec, mask: *const sigset_t) -> c_int {
        // SAFETY: the program's sets, time and mask.
        unsafe {
            if !set_follows_any(count, read) {
                return real::pselect(count, read, write, except, limit, mask);
            }
            let mut sets = Sets::new(count, [read, write, except]);
            sets.wait(Limit::new(from_timespec(limit)), |sets, left| {
                let left = left.map(to_timespec);
                let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
                real::pselect(count, sets[0], sets[1], sets[2], left, mask)
            })
        }
    }
}

/// # Safety
/// `entries` points to `count` entries.
unsafe fn follows_any(entries: *mut pollfd, count: nfds_t) -> bool {
    let mut any = false;
    for place in 0..count as usize {
        // SAFETY: the caller's promise.
        let entry = unsafe { &*entries.add(place) };
        if epoll::is_followed(entry.fd) {
            // A set within: what waits for it here does not see its rings.
            epoll::watched_by_others(entry.fd);
        }
        any |= entry.events & READABLE != 0 && table::has(entry.fd);
    }
    any
}

/// The wait of `poll` with descriptors of ours among the entries. `kernel` is the real call with what is left of the time.
///
/// # Safety
/// `entries` points to `count` entries.
unsafe fn wait(
    entries: *mut pollfd,
    count: nfds_t,
    limit: Option<Duration>,
    kernel: impl Fn(Option<Duration>) -> c_int,
) -> c_int {
    // SAFETY: the caller's promise. The kernel writes the same memory while `kernel` runs, and only then; no reference is
    // used across that.
    let entries = || unsafe { std::slice::from_raw_parts_mut(entries, count as usize) };
    let limit = Limit::new(limit);
    loop {
        let by_rings = answer_by_rings(entries());
        if let Some(count @ 1..) = by_rings {
            return count;
        }
        let any_ready = by_rings.is_none() && entries().iter().any(is_ready);
        // Before the kernel's wait begins it looks at everything by itself.
        let expected = if any_ready { Expected::Nothing } else { expected(entries()) };
        let looks = expected != Expected::Nothing && governor::will_look();
        if any_ready || limit.is_zero() || looks && by_rings.is_none() {
            let found = kernel(Some(Duration::ZERO));
            if found < 0 {
                return found;
            }
            let found = merge(entries(), any_ready);
            if found > 0 || limit.is_zero() {
                return found;
            }
        }
        if looks && governor::look(expected.processor(), || entries().iter().any(is_ready)) {
            continue;
        }
        let asleep = readiness::Asleep::new();
        let mut announced = [0; TAKEN_BACK_MAX];
        for (place, entry) in entries().iter().enumerate() {
            let value = announce(entry);
            if let Some(kept) = announced.get_mut(place) {
                *kept = value;
            }
        }
        let news = entries().iter().any(is_ready);
        let found = if news { 0 } else { kernel(limit.left()) };
        if asleep.was_last() {
            for (entry, announced) in entries().iter().zip(announced).filter(|(_, announced)| *announced != 0) {
                awake(entry, announced);
            }
        }
        if news {
            continue;
        }
        if found < 0 {
            return found;
        }
        let found = merge(entries(), true);
        if found > 0 || limit.is_over() {
            return found;
        }
    }
}

fn is_ready(entry: &pollfd) -> bool {
    entry.events & READABLE != 0 && table::find(entry.fd).is_some_and(|found| readiness::is_ready(&found))
}

fn expected(entries: &[pollfd]) -> Expected {
    let mut expected = Expected::Nothing;
    for entry in entries.iter().filter(|entry| entry.events & READABLE != 0) {
        if let Some(found) = table::find(entry.fd)
            && let Some(link) = found.link()
        {
            expected.add(link);
        }
    }
    expected
}

/// What the rings alone say of an entry. `None`: the kernel must be asked.
fn answer_by_ring(entry: &pollfd) -> Option<i16> {
    if entry.fd < 0 {
        return Some(0);
    }
    let found = table::find(entry.fd)?;
    let link = found.link()?;
    if !readiness::is_by_ring(link) || entry.events & !(READABLE | WRITABLE | ENDS) != 0 {
        return None;
    }
    let mut events = if readiness::has_unread(link) { entry.events & READABLE } else { 0 };
    if entry.events & WRITABLE != 0 {
        if !readiness::has_room(link) {
            return None;
        }
        events |= entry.events & WRITABLE;
    }
    Some(events)
}

/// What the rings alone say of all entries, in one pass, as each look may take a cache line away from a writer: how many are
/// ready. `None`: the kernel must be asked.
fn answer_by_rings(entries: &mut [pollfd]) -> Option<c_int> {
    let mut count = 0;
    for entry in entries {
        // Should the kernel be asked after all, it writes this again.
        entry.revents = answer_by_ring(entry)?;
        count += c_int::from(entry.revents != 0);
    }
    Some(count)
}

/// Returns what was announced, or 0.
fn announce(entry: &pollfd) -> u64 {
    if entry.events & READABLE != 0
        && let Some(found) = table::find(entry.fd)
        && let Some(link) = found.link()
    {
        let announced = link.announce();
        // After it: who wants the plain socket rings whoever has announced sleep.
        plain::honour(link, entry.fd);
        return announced;
    }
    0
}

fn awake(entry: &pollfd, announced: u64) {
    if let Some(found) = table::find(entry.fd)
        && let Some(link) = found.link()
    {
        link.awake(announced);
    }
}

/// Corrects what the kernel said about descriptors of ours, and counts.
fn merge(entries: &mut [pollfd], look_at_rings: bool) -> c_int {
    let mut count = 0;
    for entry in entries {
        if (entry.events & READABLE != 0 || entry.revents & ENDS != 0)
            && let Some(found) = table::find(entry.fd)
        {
            if entry.revents & READABLE != 0 && !readiness::is_truly_readable(&found, entry.fd) {
                entry.revents &= !READABLE;
            }
            if entry.revents & ENDS != 0
                && let Some(link) = found.link()
            {
                readiness::ask_next(link);
            }
            if look_at_rings && readiness::is_ready(&found) {
                entry.revents |= entry.events & READABLE;
            }
        }
        count += c_int::from(entry.revents != 0);
    }
    count
}

/// The sets of `select`, with copies of what was asked.
struct Sets {
    count: c_int,
    sets: [*mut fd_set; 3],
    asked: [fd_set; 3],
}

/// Whether a set of readers holds a descriptor of ours. What does not fit into a set of ordinary size stays plain.
///
/// # Safety
/// `set` is null or has room for `count` descriptors.
unsafe fn set_follows_any(count: c_int, set: *mut fd_set) -> bool {
    if set.is_null() {
        return false;
    }
    let mut any = false;
    for fd in 0..count.min(libc::FD_SETSIZE as c_int) {
        // SAFETY: the caller's promise.
        let within = unsafe { libc::FD_ISSET(fd, set) };
        if within && epoll::is_followed(fd) {
            epoll::watched_by_others(fd);
        }
        any |= within && table::has(fd);
    }
    if count > libc::FD_SETSIZE as c_int {
        table::entered().for_each(table::leave);
        return false;
    }
    any
}

impl Sets {
    /// # Safety
    /// Each set is null or one of `count` descriptors, of which there are at most `FD_SETSIZE`, and outlives this.
    unsafe fn new(count: c_int, sets: [*mut fd_set; 3]) -> Self {
        // SAFETY: zeros are an empty set; the caller's promise for the rest.
        let asked = sets.map(|set| unsafe { if set.is_null() { std::mem::zeroed() } else { copy(set, count) } });
        Self { count, sets, asked }
    }

    fn wait(&mut self, limit: Limit, kernel: impl Fn([*mut fd_set; 3], Option<Duration>) -> c_int) -> c_int {
        loop {
            let found = self.look(Some(Duration::ZERO), &kernel);
            if found != 0 || limit.is_zero() {
                return found;
            }
            if governor::look(0, || self.any_ready()) {
                continue;
            }
            let _asleep = readiness::Asleep::new();
            self.readers().for_each(|fd| {
                announce(&pollfd { fd, events: libc::POLLIN, revents: 0 });
            });
            if self.any_ready() {
                continue;
            }
            let found = self.look(limit.left(), &kernel);
            if found != 0 || limit.is_over() {
                return found;
            }
        }
    }

    fn look(&mut self, left: Option<Duration>, kernel: &impl Fn([*mut fd_set; 3], Option<Duration>) -> c_int) -> c_int {
        for (set, asked) in self.sets.iter().zip(&self.asked) {
            if !set.is_null() {
                // SAFETY: the program's set of this size.
                unsafe { restore(*set, asked, self.count) };
            }
        }
        let mut found = kernel(self.sets, left);
        if found < 0 {
            return found;
        }
        for fd in self.readers() {
            let Some(connection) = table::find(fd) else { continue };
            // SAFETY: the program's set, which is not null as there are readers.
            let said = unsafe { libc::FD_ISSET(fd, self.sets[0]) };
            let readable = readiness::is_ready(&connection) || said && readiness::is_truly_readable(&connection, fd);
            // SAFETY: as above.
            unsafe {
                match (said, readable) {
                    (true, false) => {
                        libc::FD_CLR(fd, self.sets[0]);
                        found -= 1;
                    }
                    (false, true) => {
                        libc::FD_SET(fd, self.sets[0]);
                        found += 1;
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn readers(&self) -> impl Iterator<Item = c_int> {
        // SAFETY: our own copy.
        (0..self.count).filter(|fd| unsafe { libc::FD_ISSET(*fd, &self.asked[0]) } && table::has(*fd))
    }

    fn any_ready(&self) -> bool {
        self.readers().any(|fd| table::find(fd).is_some_and(|found| readiness::is_ready(&found)))
    }
}

/// Bytes of a set that the kernel reads and writes.
fn set_bytes(count: c_int) -> usize {
    (count as usize).div_ceil(64) * 8
}

/// # Safety
/// `set` has `count` descriptors.
unsafe fn copy(set: *const fd_set, count: c_int) -> fd_set {
    // SAFETY: zeros are an empty set; the rest is the caller's promise.
    unsafe {
        let mut made: fd_set = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(set.cast::<u8>(), std::ptr::from_mut(&mut made).cast(), set_bytes(count));
        made
    }
}

/// # Safety
/// `set` has `count` descriptors.
unsafe fn restore(set: *mut fd_set, asked: &fd_set, count: c_int) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(asked).cast::<u8>(), set.cast(), set_bytes(count)) };
}
