//! `epoll`.

use super::hooks;
use super::waiting::{Limit, from_milliseconds, from_timespec, to_milliseconds, to_timespec};
use crate::readiness::Expected;
use crate::{epoll, governor, readiness, real, table};
use libc::{c_int, epoll_event, sigset_t, timespec};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

hooks! {
    fn epoll_create(size: c_int) -> c_int {
        // SAFETY: the program's call.
        made(unsafe { real::epoll_create(size) })
    }

    fn epoll_create1(flags: c_int) -> c_int {
        // SAFETY: the program's call.
        made(unsafe { real::epoll_create1(flags) })
    }

    fn epoll_ctl(set: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
        // SAFETY: the program's event, if there is one.
        let given = unsafe { event.as_ref().copied() };
        epoll::control(set, operation, fd, given, |operation| {
            // SAFETY: the program's call.
            unsafe { real::epoll_ctl(set, operation, fd, event) }
        })
    }

    fn epoll_wait(set: c_int, events: *mut epoll_event, count: c_int, limit: c_int) -> c_int {
        if !epoll::is_followed(set) || events.is_null() || count <= 0 {
            // SAFETY: the program's call.
            return unsafe { real::epoll_wait(set, events, count, limit) };
        }
        // SAFETY: the program's room for events.
        unsafe {
            wait(set, events, count, from_milliseconds(limit), |events, count, left| {
                real::epoll_wait(set, events, count, to_milliseconds(left))
            })
        }
    }

    fn epoll_pwait(set: c_int, events: *mut epoll_event, count: c_int, limit: c_int, mask: *const sigset_t) -> c_int {
        if !epoll::is_followed(set) || events.is_null() || count <= 0 {
            // SAFETY: the program's call.
            return unsafe { real::epoll_pwait(set, events, count, limit, mask) };
        }
        // SAFETY: the program's room for events and its mask.
        unsafe {
            wait(set, events, count, from_milliseconds(limit), |events, count, left| {
                real::epoll_pwait(set, events, count, to_milliseconds(left), mask)
            })
        }
    }

    fn epoll_pwait2(set: c_int, events: *mut epoll_event, count: c_int, limit: *const timespec, mask: *const sigset_t) -> c_int {
        if !epoll::is_followed(set) || events.is_null() || count <= 0 {
            // SAFETY: the program's call.
            return unsafe { real::epoll_pwait2(set, events, count, limit, mask) };
        }
        // SAFETY: the program's room for events, its time and its mask.
        unsafe {
            wait(set, events, count, from_timespec(limit), |events, count, left| {
                let left = left.map(to_timespec);
                let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
                real::epoll_pwait2(set, events, count, left, mask)
            })
        }
    }
}

/// A new set: whatever was known of its number is out of date.
fn made(set: c_int) -> c_int {
    if set >= 0 {
        table::forget_stale(set);
        epoll::is_one(set);
    }
    set
}

/// # Safety
/// `events` has room for `count` events, which is not 0.
unsafe fn wait(
    descriptor: c_int,
    events: *mut epoll_event,
    count: c_int,
    limit: Option<Duration>,
    kernel: impl Fn(*mut epoll_event, c_int, Option<Duration>) -> c_int,
) -> c_int {
    /// Turns between rings and kernel where there is little room for both.
    static TURNS: AtomicU32 = AtomicU32::new(0);
    // SAFETY: the caller's promise; events are plain numbers, and what is not filled is not returned.
    let room = unsafe { std::slice::from_raw_parts_mut(events, count as usize) };
    let limit = Limit::new(limit);
    loop {
        // Another one, once the one that it was kept under was closed.
        let set = epoll::kept_under(descriptor);
        if !epoll::any_linked(set) {
            match sleep(descriptor, room, limit, &kernel) {
                Some(found) => return found,
                None => continue,
            }
        }
        // A call that does not wait asks about everything. Others need not ask the kernel each time while rings are busy.
        let is_due = limit.is_zero() || governor::is_kernel_due(set);
        let is_narrow = is_due && room.len() < 4 && epoll::any_ready(set);
        let kernel_first = is_narrow && TURNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let for_rings = if kernel_first { 0 } else { (room.len() - room.len() / 4).max(1) };
        let epoll::Survey { count: scanned, expected } = epoll::scan(set, &mut room[..for_rings]);
        let (rings, rest) = room.split_at_mut(scanned);
        let mut found = scanned;
        // Before the kernel's wait begins it looks at everything by itself.
        let may_look = scanned == 0 && !kernel_first && expected != Expected::Nothing;
        let looks = may_look && governor::will_look();
        if !rest.is_empty() && is_due && (scanned > 0 || kernel_first || looks || limit.is_zero()) {
            epoll::tell_kernel(set);
            governor::kernel_is_asked(set);
            let more = kernel(rest.as_mut_ptr(), rest.len() as c_int, Some(Duration::ZERO));
            if more < 0 && scanned == 0 {
                return more;
            }
            found += epoll::filter(set, rings, &mut rest[..more.max(0) as usize]);
        }
        if found > 0 || (limit.is_zero() && !kernel_first) {
            return found as c_int;
        }
        if kernel_first || looks && governor::look(expected.processor(), || epoll::any_ready(set)) {
            continue;
        }
        match sleep(descriptor, room, limit, &kernel) {
            Some(found) => return found,
            None => continue,
        }
    }
}

/// Sleeps in the kernel's wait. `None`: look again.
fn sleep(
    descriptor: c_int,
    room: &mut [epoll_event],
    limit: Limit,
    kernel: &impl Fn(*mut epoll_event, c_int, Option<Duration>) -> c_int,
) -> Option<c_int> {
    let asleep = readiness::Asleep::new();
    let set = epoll::kept_under(descriptor);
    epoll::announce(set);
    let news = epoll::any_ready(set);
    let more = if news {
        0
    } else {
        // After this thread has counted itself among the sleepers, from which on changes are told at once.
        epoll::tell_kernel(set);
        kernel(room.as_mut_ptr(), room.len() as c_int, limit.left())
    };
    let set = epoll::kept_under(descriptor);
    if asleep.was_last() {
        epoll::awake(set);
    }
    if news {
        return None;
    }
    if more < 0 {
        return Some(more);
    }
    let found = epoll::filter(set, &mut [], &mut room[..more as usize]);
    (found > 0 || limit.is_over()).then_some(found as c_int)
}
