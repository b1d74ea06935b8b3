//! A unix connection of an application that may go on by shared memory, if its other end runs under `hushwire swap`.
//!
//! It begins as the socket that it is. After some large pieces the supervisor is asked to introduce the two ends to each other
//! (docs/spec/swap.md); once they have met, this end is one of the protocol's own, and large pieces move between its ring and the
//! flow's by one copy, without a call of the kernel. Small ones never leave the socket: this process sleeps at once, so each would need a
//! doorbell besides.

use crate::port::FlowPort;
use os_net::process_channel::{AsyncChannel, FromProcess, Meeting};
use rustix::io::Errno;
use shm_ring::OwnSegment;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use swap_link::NativeEnd;
use swap_link::rendezvous::{FIRST_ATTEMPT, LAST_ATTEMPT, new_segment, next_attempt};
use swap_link::statistics::{self, Count};
use swap_link::worth::LARGE_BYTES;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Connections of a process that may go by shared memory at a time, each with a segment of 260 KiB of ours and one of the
/// other end's. Further ones stay at their sockets.
pub const LINKED_MAX: usize = 256;
/// Introductions that are waited for at a time. A connection that finds them all taken asks again after more large pieces.
const ASKED_MAX: usize = 32;
/// After which an answer is not expected any more. The supervisor gives up sooner.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What all connections of a process share: whom they ask, and what they have asked for.
pub struct Introductions {
    channel: Rc<AsyncChannel>,
    next: Cell<u32>,
    asked: RefCell<BTreeMap<u32, Asked>>,
    linked: Rc<Cell<usize>>,
    /// A segment that nobody has been offered.
    spare: RefCell<Option<Segment>>,
}

/// A segment of ours, and the descriptor that the other end is given.
struct Segment {
    own: OwnSegment,
    fd: OwnedFd,
}

struct Asked {
    of: Weak<Place>,
    segment: Segment,
    /// Whether the other end may have the segment from an earlier time.
    was_offered: bool,
    at: Instant,
}

/// What a connection's progress leads to.
#[derive(Default)]
struct Place {
    end: OnceCell<NativeEnd>,
    /// Counts the link, from when there is one.
    linked: OnceCell<Rc<Cell<usize>>>,
    /// The segment that the other end has been offered. It may take that one at any time, so it is never offered another.
    offered: RefCell<Option<Segment>>,
    is_asking: Cell<bool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(linked) = self.linked.get() {
            linked.set(linked.get() - 1);
        }
    }
}

impl Introductions {
    /// `channel` leads to the supervisor.
    pub fn new(channel: Rc<AsyncChannel>) -> Self {
        statistics::want();
        let (next, asked) = (Cell::new(0), RefCell::default());
        Self { channel, next, asked, linked: Rc::default(), spare: RefCell::default() }
    }

    /// What was swapped in this process so far, under the names that `hushwire swap --stats` has too, and `now`: connections
    /// that go by shared memory at present.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        statistics::counts().chain([("now", self.linked.get() as u64)]).collect()
    }

    /// The supervisor's answer: with [`Meeting::Met`] comes the segment of the other end.
    pub fn answered(&self, number: u32, meeting: Meeting, theirs: Option<OwnedFd>) {
        let Some(Asked { of, segment, was_offered, .. }) = self.asked.borrow_mut().remove(&number) else { return };
        let place = of.upgrade();
        if let Some(place) = &place {
            place.is_asking.set(false);
        }
        match (meeting, place, theirs) {
            (Meeting::Met, Some(place), Some(theirs)) => {
                let end = match NativeEnd::new(segment.own, theirs.as_fd()) {
                    Ok(end) => end,
                    // The other end keeps to its socket, since we never say that we would read its ring.
                    Err(error) => return tracing::debug!(%error, "a connection is not swapped"),
                };
                if place.end.set(end).is_ok() {
                    self.linked.set(self.linked.get() + 1);
                    let _ = place.linked.set(self.linked.clone());
                }
            }
            (Meeting::Absent, ..) if !was_offered => _ = self.spare.replace(Some(segment)),
            (_, Some(place), _) => _ = place.offered.replace(Some(segment)),
            (_, None, _) => {}
        }
    }

    /// Asks to be introduced to the other end of a connection. What stands in the way now may be gone after more pieces.
    fn ask(&self, stream: &UnixStream, place: &Rc<Place>) {
        let mut asked = self.asked.borrow_mut();
        asked.retain(|_, asked| asked.at.elapsed() < ANSWER_MAX);
        if place.is_asking.get() || asked.len() >= ASKED_MAX || asked.len() + self.linked.get() >= LINKED_MAX {
            return;
        }
        let fresh = || new_segment().map(|(own, fd)| Segment { own, fd });
        let kept = place.offered.take();
        let was_offered = kept.is_some();
        let segment = match kept.or_else(|| self.spare.take()).map_or_else(fresh, Ok) {
            Ok(segment) => segment,
            Err(error) => return tracing::debug!(%error, "a connection is not swapped"),
        };
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let descriptors = [stream.as_fd(), segment.fd.as_fd()];
        match self.channel.send(&FromProcess::Introduce { number }, &descriptors) {
            Ok(()) => {
                place.is_asking.set(true);
                asked.insert(number, Asked { of: Rc::downgrade(place), segment, was_offered, at: Instant::now() });
            }
            Err(_) if was_offered => _ = place.offered.replace(Some(segment)),
            Err(_) => _ = self.spare.replace(Some(segment)),
        }
    }
}

/// A connected unix socket under tokio, or the end of a ring that has taken its place.
pub struct Swappable {
    stream: UnixStream,
    place: Rc<Place>,
    introductions: Rc<Introductions>,
    /// Calls that moved a large piece through the socket.
    large: Cell<u32>,
    /// Value of `large` at which the next introduction is asked for.
    attempt_at: Cell<u32>,
}

impl fmt::Debug for Swappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swappable").field("is_linked", &self.place.end.get().is_some()).finish_non_exhaustive()
    }
}

impl Swappable {
    /// Follows a connection that was just accepted.
    pub fn new(stream: UnixStream, introductions: Rc<Introductions>) -> Self {
        statistics::add(Count::Connections);
        let (large, attempt_at) = (Cell::new(0), Cell::new(FIRST_ATTEMPT));
        Self { stream, place: Rc::default(), introductions, large, attempt_at }
    }

    /// The socket. What is read from it or written to it directly passes the ring by.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Ready when reading may succeed. Until then the other end sends a byte through the socket for its news.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(end) = self.place.end.get() else { return self.stream.poll_read_ready(context) };
        if end.is_readable_or_sleeps(self.stream.as_fd()) {
            return Poll::Ready(Ok(()));
        }
        let polled = self.stream.poll_read_ready(context);
        if polled.is_ready() {
            end.wake();
        }
        polled
    }

    /// Ready when writing may succeed.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.place.end.get().is_some_and(NativeEnd::has_room) {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_write_ready(context)
    }

    /// Receives at most `max` bytes into the port's out-ring, which has room. `Ok(0)`: end of file.
    pub(crate) fn fill(&self, port: &FlowPort, max: usize) -> io::Result<usize> {
        let socket = self.stream.as_fd();
        match self.place.end.get() {
            None => self.plain(Interest::READABLE, || port.fill_from(socket, max)),
            Some(end) => self.linked(Interest::READABLE, end.is_readable(), || {
                port.fill_with(max, |room| end.receive_into(socket, room).map_err(number))
            }),
        }
    }

    /// Sends at most `max` bytes of the port's in-ring.
    pub(crate) fn drain(&self, port: &FlowPort, max: usize) -> io::Result<usize> {
        let socket = self.stream.as_fd();
        match self.place.end.get() {
            None => self.plain(Interest::WRITABLE, || port.drain_into(socket, max)),
            Some(end) => self.linked(Interest::WRITABLE, end.has_room(), || {
                port.drain_with(max, |waiting| end.send_from(socket, waiting).map_err(number))
            }),
        }
    }

    /// Receives what there is. `Ok(0)`: end of file.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = self.stream.as_fd();
        match self.place.end.get() {
            None => self.plain(Interest::READABLE, || Ok(rustix::io::read(socket, buffer)?)),
            Some(end) => self.linked(Interest::READABLE, end.is_readable(), || end.receive(socket, buffer)),
        }
    }

    /// Sends what there is room for.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.stream.as_fd();
        match self.place.end.get() {
            None => self.plain(Interest::WRITABLE, || Ok(rustix::io::write(socket, bytes)?)),
            Some(end) => self.linked(Interest::WRITABLE, end.has_room(), || end.send(socket, bytes)),
        }
    }

    /// Before this direction of the socket is shut down.
    pub(crate) fn shut_down_write(&self) {
        if let Some(end) = self.place.end.get() {
            end.shut_down_write();
        }
    }

    fn plain(&self, interest: Interest, call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        self.counted(self.stream.try_io(interest, call))
    }

    /// `by_ring`: the ring is ready. Tokio knows of the socket only, and lets nothing through while that is not.
    fn linked(
        &self,
        interest: Interest,
        by_ring: bool,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        if by_ring {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => return moved,
            }
        }
        self.stream.try_io(interest, call)
    }

    /// Asks for an introduction when it is time.
    fn counted(&self, moved: io::Result<usize>) -> io::Result<usize> {
        if matches!(moved, Ok(LARGE_BYTES..)) {
            let large = self.large.get().saturating_add(1);
            self.large.set(large);
            if large >= self.attempt_at.get() && large <= LAST_ATTEMPT {
                self.attempt_at.set(next_attempt(large));
                self.introductions.ask(&self.stream, &self.place);
            }
        }
        moved
    }
}

impl Drop for Swappable {
    fn drop(&mut self) {
        if let Some(end) = self.place.end.get() {
            end.leave(self.stream.as_fd());
        }
    }
}

/// Errors of an end are numbers of the system's.
fn number(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
