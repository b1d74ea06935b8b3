//! Which descriptors of ours an epoll set watches, so that their rings are looked at before the set is waited for.
//!
//! The kernel keeps the set and reports doorbells, other descriptors and ends as always. What is added here: rings that can
//! be read before sleeping, and the suppression of a doorbell whose news have been read already. Programs that register
//! anew for each message (once to write, once to read) would make several calls for it that change nothing as long as the
//! rings alone are looked at, so the kernel is told of such changes when it is asked next.

mod copies;
mod registry;
mod rings;

pub(crate) use copies::{copied, is_one, kept_under};
pub(crate) use registry::{Locked, is_watched, locked};
pub(crate) use rings::{Survey, announce, any_linked, any_ready, awake, filter, scan};

use crate::{readiness, real, table};
use libc::{c_int, epoll_event};
use registry::{Spent, first, sets};
use std::sync::atomic::{AtomicBool, Ordering};

/// Events that can mean "there is data".
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;
/// Events that mean "there is room".
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLWRNORM) as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONCE: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
/// With one of these a change means more to the kernel than what it says.
const SPECIAL: u32 = EDGE | ONCE | EXCLUSIVE | libc::EPOLLWAKEUP as u32;

/// Descriptors that others wait for: a set among them must not have rings, which those others do not see.
static WATCHED: [AtomicBool; table::DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; table::DESCRIPTORS_MAX];
/// Sets of which the kernel has yet to be told something.
static PENDING: [AtomicBool; table::DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; table::DESCRIPTORS_MAX];
/// Descriptors that were in a set before they were connected, which could not be kept in mind.
static UNSEEN: [AtomicBool; table::DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; table::DESCRIPTORS_MAX];
/// Sets that another process has too: it sees what the kernel knows, so the kernel is told at once.
static SHARED: [AtomicBool; table::DESCRIPTORS_MAX] = [const { AtomicBool::new(false) }; table::DESCRIPTORS_MAX];

/// What is marked of a set, and not of a member of sets.
const MARKS_OF_SETS: [&[AtomicBool]; 3] = [&WATCHED, &PENDING, &SHARED];

fn is_set(marks: &[AtomicBool], fd: i32) -> bool {
    marks.get(fd as usize).is_some_and(|mark| mark.load(Ordering::Relaxed))
}

fn mark(marks: &[AtomicBool], fd: i32, value: bool) {
    if let Some(mark) = marks.get(fd as usize) {
        mark.store(value, Ordering::Relaxed);
    }
}

/// Whether a set watches descriptors of ours.
#[inline]
pub(crate) fn is_followed(set: i32) -> bool {
    first(kept_under(set)) != 0
}

/// `epoll_ctl`.
pub(crate) fn control(
    set: c_int,
    operation: c_int,
    fd: c_int,
    event: Option<epoll_event>,
    ask: impl Fn(c_int) -> c_int,
) -> c_int {
    is_one(set);
    let set = kept_under(set);
    if !table::has(fd) && !is_watched(fd) {
        return control_other(set, operation, fd, event, ask);
    }
    let Some(mut locked) = locked() else { return ask(operation) };
    match locked.postpone(set, operation, fd, event) {
        Some(Ok(())) => return 0,
        Some(Err(error)) => {
            real::set_errno(error);
            return -1;
        }
        None => locked.tell_of(set, fd),
    }
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
            (entry.events, entry.data, entry.told) = (event.events, event.u64, (event.events, event.u64));
            (entry.reported, entry.spent) = (None, Spent::No);
            true
        }
        _ => false,
    };
    drop(locked);
    if !followed || is_set(&WATCHED, set) {
        table::leave(fd);
    }
    answer
}

/// `epoll_ctl` of what is not ours.
fn control_other(
    set: c_int,
    operation: c_int,
    fd: c_int,
    event: Option<epoll_event>,
    ask: impl Fn(c_int) -> c_int,
) -> c_int {
    if operation != libc::EPOLL_CTL_ADD {
        return ask(operation);
    }
    watched_by_others(fd);
    let answer = ask(operation);
    if answer == 0 && (table::has(fd) || may_connect(fd)) {
        watch_before_connect(set, fd, event);
    }
    answer
}

/// Whether this is a stream socket that may be connected later. Programs put such ones into their sets before that.
fn may_connect(fd: c_int) -> bool {
    let option = |name: c_int| {
        let (mut value, mut length): (c_int, _) = (-1, size_of::<c_int>() as libc::socklen_t);
        let at = std::ptr::from_mut(&mut value).cast();
        let errno = real::errno();
        // SAFETY: the option is one int.
        let asked = unsafe { real::getsockopt(fd, libc::SOL_SOCKET, name, at, &mut length) };
        real::set_errno(errno);
        (asked == 0).then_some(value)
    };
    option(libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        && option(libc::SO_TYPE) == Some(libc::SOCK_STREAM)
        && option(libc::SO_ACCEPTCONN) == Some(0)
        && !table::is_connected(fd)
}

/// Keeps in mind that a set watches what is not a connection yet. If that cannot be, it will stay plain.
fn watch_before_connect(set: c_int, fd: c_int, event: Option<epoll_event>) {
    let event = event.filter(|event| event.events & EXCLUSIVE == 0);
    let kept = event.is_some_and(|event| locked().is_some_and(|mut locked| locked.insert(set, fd, event)));
    if !kept {
        mark(&UNSEEN, fd, true);
        table::leave(fd);
    }
}

/// Whether a set watches this descriptor in a way that nobody has kept in mind: a connection must stay plain.
pub(crate) fn is_unseen(fd: i32) -> bool {
    is_set(&UNSEEN, fd)
}

impl Locked {
    /// Makes a change that the kernel will be told of later. `None`: it must be told now.
    fn postpone(
        &mut self,
        set: c_int,
        operation: c_int,
        fd: c_int,
        event: Option<epoll_event>,
    ) -> Option<Result<(), c_int>> {
        let place = self.place_of(set, fd)?;
        let entry = *self.entry(place);
        let is_special = (entry.events | event.map_or(0, |event| event.events)) & SPECIAL != 0;
        // Whoever sleeps must be woken by what is new. It counts itself before it tells the kernel of all changes, under
        // the lock that is held here.
        let anybody_sees = is_set(&SHARED, set) || is_set(&WATCHED, set) || readiness::anybody_sleeps();
        if is_special || anybody_sees || entry.spent != Spent::No || self.link_of(&entry).is_none() {
            return None;
        }
        match (operation, event) {
            (libc::EPOLL_CTL_ADD, Some(_)) if entry.is_wanted => return Some(Err(libc::EEXIST)),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, _) if !entry.is_wanted => return Some(Err(libc::ENOENT)),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(event)) => {
                let entry = self.entry(place);
                (entry.events, entry.data) = (event.events, event.u64);
                (entry.reported, entry.is_wanted) = (None, true);
            }
            (libc::EPOLL_CTL_DEL, _) => self.entry(place).is_wanted = false,
            _ => return None,
        }
        mark(&PENDING, set, true);
        Some(Ok(()))
    }

    /// Tells the kernel what it does not know of a registration. Returns whether the registration is still there.
    fn tell(&mut self, place: u16) -> bool {
        let entry = self.entry(place);
        let wanted = (entry.events, entry.data);
        if entry.is_wanted && (entry.told == wanted || entry.spent != Spent::No) {
            return true;
        }
        let operation = if entry.is_wanted { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_DEL };
        entry.told = wanted;
        let mut event = epoll_event { events: entry.events, u64: entry.data };
        let errno = real::errno();
        // SAFETY: the event lives here. The kernel knows of the descriptor, or it was closed by means that we do not see.
        unsafe { real::epoll_ctl(entry.set, operation, entry.fd, &mut event) };
        real::set_errno(errno);
        entry.is_wanted
    }

    /// The same for a descriptor in a set.
    fn tell_of(&mut self, set: c_int, fd: c_int) {
        if is_set(&PENDING, set)
            && let Some(place) = self.place_of(set, fd)
            && !self.tell(place)
        {
            self.remove(set, fd);
        }
    }
}

/// Tells the kernel all changes to a set that it does not know. Before each of its waits.
pub(crate) fn tell_kernel(set: c_int) {
    if !is_set(&PENDING, set) {
        return;
    }
    let Some(mut locked) = locked() else { return };
    mark(&PENDING, set, false);
    let (mut before, mut place) = (0, first(set));
    while place != 0 {
        let next = locked.entry(place).next;
        if locked.tell(place) {
            before = place;
        } else {
            locked.unlink(set, before, place);
        }
        place = next;
    }
}

/// Before another program, which may have the sets too.
pub(crate) fn tell_kernel_of_all() {
    sets().for_each(tell_kernel);
}

/// Before a fork: both processes will have the sets.
pub(crate) fn share_all() {
    for set in sets() {
        tell_kernel(set);
        mark(&SHARED, set, true);
    }
}

/// Something waits for this descriptor that does not look at rings behind it. If it is a set, its connections go back.
pub(crate) fn watched_by_others(set: i32) {
    let set = kept_under(set);
    mark(&WATCHED, set, true);
    tell_kernel(set);
    leave_all(set);
}

/// All connections of a set go back to their sockets.
fn leave_all(set: i32) {
    let mut skip = 0;
    while is_followed(set) {
        let Some(mut locked) = locked() else { return };
        let mut place = first(set);
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
    is_followed(fd)
        || is_watched(fd)
        || copies::is_known(fd)
        || [&WATCHED, &UNSEEN, &SHARED].into_iter().any(|marks| is_set(marks, fd))
}

/// A descriptor is about to be closed: as a set, or as one that sets watch.
pub(crate) fn closing(fd: i32) {
    let goes = matches!(copies::closing(fd), copies::Closing::OfLast);
    for marks in MARKS_OF_SETS.into_iter().chain([&UNSEEN[..]]) {
        mark(marks, fd, false);
    }
    if goes
        && is_followed(fd)
        && let Some(mut locked) = locked()
    {
        locked.clear(fd);
    }
    if is_watched(fd) {
        closing_watched(fd);
    }
}

fn closing_watched(fd: i32) {
    if let Some(found) = table::find(fd)
        && found.descriptors.load(Ordering::Acquire) > 1
    {
        // The kernel goes on watching for as long as another descriptor leads to the same socket.
        table::go_plain(&found, fd);
    }
    let Some(mut locked) = locked() else {
        // A handler of signals that interrupted somebody who looks at the rings of a set, perhaps at this one.
        table::keep_for_ever(fd);
        return;
    };
    while is_watched(fd) {
        let Some(set) = locked.any_set_of(fd) else { return };
        locked.tell_of(set, fd);
        locked.remove(set, fd);
    }
}
