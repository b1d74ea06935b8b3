//! The rings of a set: what they have, and how that goes together with what the kernel says.

use super::registry::{Locked, Registration, Spent, first, locked};
use super::{EDGE, ONCE, READABLE, WRITABLE};
use crate::link::{Link, Word};
use crate::readiness::{self, Expected};
use crate::{plain, real, table};
use libc::epoll_event;

/// Events that a connection whose other side sends by its ring, and has not left, does not have.
const ENDS: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI | libc::EPOLLRDBAND) as u32;
/// Being writable in all its forms.
const ANY_ROOM: u32 = WRITABLE | libc::EPOLLWRBAND as u32;

impl Locked {
    /// The link behind a registration. It stays for as long as the lock is held: whoever closes a watched descriptor takes
    /// its registrations away first.
    pub(super) fn link_of(&self, entry: &Registration) -> Option<&'static Link> {
        // SAFETY: as just said.
        unsafe { table::link_at(entry.fd) }
    }
}

/// What the rings have of what a registration asks for.
fn events_of(entry: &Registration, link: &Link) -> u32 {
    if entry.spent != Spent::No || !entry.is_wanted {
        return 0;
    }
    let mut events = 0;
    if entry.events & READABLE != 0 && readiness::has_unread(link) {
        events |= entry.events & READABLE;
    }
    // Where room is news the kernel tells it.
    if entry.events & WRITABLE != 0 && entry.events & (EDGE | ONCE) == 0 && readiness::has_room(link) {
        events |= entry.events & WRITABLE;
    }
    events
}

/// Whether that has been reported already.
fn is_old(entry: &Registration, link: &Link) -> bool {
    entry.events & EDGE != 0 && entry.reported == Some(link.theirs(Word::Written))
}

/// Whether any ring of the set has something to report.
pub(crate) fn any_ready(set: i32) -> bool {
    let Some(mut locked) = locked() else { return false };
    let mut place = first(set);
    while place != 0 {
        let entry = *locked.entry(place);
        if let Some(link) = locked.link_of(&entry)
            && events_of(&entry, link) != 0
            && !is_old(&entry, link)
        {
            return true;
        }
        place = entry.next;
    }
    false
}

/// Whether any connection of the set is linked. If not, there are no rings to look at.
pub(crate) fn any_linked(set: i32) -> bool {
    let Some(mut locked) = locked() else { return false };
    let mut place = first(set);
    while place != 0 {
        let entry = *locked.entry(place);
        if locked.link_of(&entry).is_some() {
            return true;
        }
        place = entry.next;
    }
    false
}

/// Says for every ring of the set that a thread is about to sleep.
pub(crate) fn announce(set: i32) {
    let Some(mut locked) = locked() else { return };
    let mut place = first(set);
    while place != 0 {
        let entry = *locked.entry(place);
        if entry.events & READABLE != 0
            && entry.is_wanted
            && let Some(link) = locked.link_of(&entry)
        {
            locked.entry(place).announced = link.announce();
            // After it: who wants the plain socket rings whoever has announced sleep.
            plain::honour(link, entry.fd);
        }
        place = entry.next;
    }
}

/// Says for every ring of the set that nobody sleeps any more. Only for the last sleeper.
pub(crate) fn awake(set: i32) {
    let Some(mut locked) = locked() else { return };
    let mut place = first(set);
    while place != 0 {
        let entry = *locked.entry(place);
        if entry.announced != 0
            && let Some(link) = locked.link_of(&entry)
        {
            link.awake(entry.announced);
        }
        place = entry.next;
    }
}

/// What a look at all rings of a set found.
pub(crate) struct Survey {
    /// Events that were written.
    pub(crate) count: usize,
    /// Where further ones may come from. Of no meaning if there was no room for all.
    pub(crate) expected: Expected,
}

/// Reports what the rings have.
pub(crate) fn scan(set: i32, events: &mut [epoll_event]) -> Survey {
    let mut survey = Survey { count: 0, expected: Expected::Nothing };
    let Some(mut locked) = locked() else { return survey };
    let (mut before, mut place) = (0, first(set));
    let (mut first_given, mut last_given) = (0, 0);
    while place != 0 && survey.count < events.len() {
        let entry = *locked.entry(place);
        if let Some(link) = locked.link_of(&entry) {
            survey.expected.add(link);
            if let Some(event) = report(&mut locked, place, link) {
                events[survey.count] = event;
                survey.count += 1;
                // Those that were reported go to the end, so that all have their turn when there is little room.
                locked.join(set, before, entry.next);
                locked.entry(place).next = 0;
                if first_given == 0 {
                    first_given = place;
                } else {
                    locked.entry(last_given).next = place;
                }
                last_given = place;
                place = entry.next;
                continue;
            }
        }
        (before, place) = (place, entry.next);
    }
    while place != 0 {
        (before, place) = (place, locked.entry(place).next);
    }
    if first_given != 0 {
        locked.join(set, before, first_given);
    }
    survey
}

fn report(locked: &mut Locked, place: u16, link: &Link) -> Option<epoll_event> {
    let entry = *locked.entry(place);
    let mut events = events_of(&entry, link);
    if events == 0 {
        return None;
    }
    if events & READABLE != 0 {
        let written = link.theirs(Word::Written);
        if entry.events & EDGE != 0 && entry.reported == Some(written) {
            return None;
        }
        locked.entry(place).reported = Some(written);
    }
    if entry.events & ONCE != 0 {
        // SAFETY: removal needs no event.
        if unsafe { real::epoll_ctl(entry.set, libc::EPOLL_CTL_DEL, entry.fd, std::ptr::null_mut()) } < 0 {
            return None;
        }
        locked.entry(place).spent = Spent::Removed;
    }
    let mut others = entry.events & !READABLE & !events & 0xffff;
    if readiness::is_by_ring(link) {
        others &= !ENDS;
    }
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
    let Some(found) = table::find(entry.fd) else { return Some(event) };
    let Some(link) = found.link() else { return Some(event) };
    if event.events & ENDS != 0 {
        readiness::ask_next(link);
    }
    if let Some(already) = scanned.iter_mut().find(|scanned| scanned.u64 == data) {
        already.events |= event.events & !READABLE;
        return None;
    }
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
    let idle = event.events & !ANY_ROOM == 0;
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
