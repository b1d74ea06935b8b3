//! An end whose program speaks the protocol itself, in a loop of events: no call waits, looks on or is cancelled, one thread
//! has it, and nobody leaves the ring for the bare socket.

use crate::buffers::Buffers;
use crate::end::End;
use crate::link::{Link, SEGMENT_BYTES, Word, stance};
use crate::receive::{Receiving, receive};
use crate::send::{Sending, send};
use crate::statistics::{self, Count};
use crate::{plain, readiness, real};
use libc::{c_int, iovec};
use shm_ring::{OtherSegment, OwnSegment, Room, SegmentError, Waiting};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One end of a linked connection. Every call is given the connection's own socket.
///
/// Errors of receiving and sending are those of a socket: `WouldBlock` where there is nothing, or no room; an error for a
/// connection that the other side has broken.
pub struct NativeEnd {
    link: Link,
    /// The value by which sleep was announced last, or 0 if this end is awake.
    announced: Cell<u64>,
}

impl NativeEnd {
    /// Links our segment ([`crate::rendezvous::new_segment`]), which the other side has been given, with the one that it
    /// offered. Between calls on the connection; it may be at any byte of its stream.
    pub fn new(own: OwnSegment, theirs: BorrowedFd<'_>) -> Result<Self, SegmentError> {
        let link = Link::new(own, OtherSegment::map(theirs, SEGMENT_BYTES)?);
        link.set(Word::Settled, 1);
        // The other side must know the one when it sees the other.
        link.take_stance(stance::READY | stance::SLEEPS_AT_ONCE);
        statistics::add(Count::Linked);
        Ok(Self { link, announced: Cell::new(0) })
    }

    /// Whether the ring has bytes to receive. If not, the other side is told that this one sleeps, and will send a byte
    /// through the socket for whatever it does next; so to be asked before each wait for the socket.
    pub fn is_readable_or_sleeps(&self, socket: BorrowedFd<'_>) -> bool {
        if readiness::has_unread(&self.link) {
            return true;
        }
        plain::honour(&self.link, socket.as_raw_fd());
        if self.announced.get() == 0 {
            let mode = self.link.theirs(Word::Mode);
            self.announced.set(self.link.announce());
            return readiness::has_unread(&self.link)
                || self.link.theirs(Word::Mode) != mode
                || plain::must_give_back(&self.link);
        }
        false
    }

    /// Whether the ring has bytes to receive. If not, the socket may have some.
    pub fn is_readable(&self) -> bool {
        readiness::has_unread(&self.link)
    }

    /// The socket has become readable: a doorbell, data or the end.
    pub fn wake(&self) {
        self.rise();
        readiness::ask_next(&self.link);
    }

    /// Whether sending would put bytes into the ring. If not, the socket says when there is room.
    pub fn has_room(&self) -> bool {
        readiness::has_room(&self.link)
    }

    /// Receives straight into a ring of the caller's. `Ok(0)`: the end of the stream.
    pub fn receive_into(&self, socket: BorrowedFd<'_>, room: &Room<'_>) -> io::Result<usize> {
        // SAFETY: the room is valid for writing while it is borrowed.
        unsafe { self.receive_parts(socket.as_raw_fd(), room.parts()) }
    }

    /// Receives into a buffer.
    pub fn receive(&self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let parts = [iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }];
        // SAFETY: the buffer is borrowed.
        unsafe { self.receive_parts(socket.as_raw_fd(), &parts) }
    }

    /// Sends straight out of a ring of the caller's, as much as there is room for.
    pub fn send_from(&self, socket: BorrowedFd<'_>, waiting: &Waiting<'_>) -> io::Result<usize> {
        // SAFETY: the bytes are valid for reading while they are borrowed.
        unsafe { self.send_parts(socket.as_raw_fd(), waiting.parts()) }
    }

    /// Sends as much of a buffer as there is room for.
    pub fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let parts = [iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
        // SAFETY: the bytes are borrowed, and a call that sends only reads them.
        unsafe { self.send_parts(socket.as_raw_fd(), &parts) }
    }

    /// Before the socket's own direction is shut down.
    pub fn shut_down_write(&self) {
        plain::shutting_down(&self.link, libc::SHUT_WR);
    }

    /// Before the socket is closed.
    pub fn leave(&self, socket: BorrowedFd<'_>) {
        plain::leaving(&self.link, socket.as_raw_fd());
    }

    /// # Safety
    /// The parts are valid for writing.
    unsafe fn receive_parts(&self, fd: c_int, parts: &[iovec]) -> io::Result<usize> {
        // What is taken now may include the doorbell that was announced for.
        self.rise();
        // SAFETY: the caller's promise.
        let buffers = unsafe { Buffers::new(parts) };
        let call = Receiving { fd, buffers, flags: libc::MSG_DONTWAIT, with_control: false };
        let mut kernel = |fd, more| {
            let mut message = message_of(parts);
            // SAFETY: the caller's parts.
            real::outcome(unsafe { real::recvmsg(fd, &mut message, libc::MSG_DONTWAIT | more) })
        };
        receive(self, &self.link, &call, &mut kernel).map_err(io::Error::from_raw_os_error)
    }

    /// # Safety
    /// The parts are valid for reading.
    unsafe fn send_parts(&self, fd: c_int, parts: &[iovec]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the caller's promise.
        let call = Sending { fd, buffers: unsafe { Buffers::new(parts) }, flags };
        let mut kernel = || {
            let message = message_of(parts);
            // SAFETY: the caller's parts.
            real::outcome(unsafe { real::sendmsg(fd, &message, flags) })
        };
        send(self, &self.link, &call, &mut kernel).map_err(io::Error::from_raw_os_error)
    }

    fn rise(&self) {
        let announced = self.announced.replace(0);
        if announced != 0 {
            self.link.awake(announced);
        }
    }
}

fn message_of(parts: &[iovec]) -> libc::msghdr {
    // SAFETY: zeros are a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_ptr().cast_mut();
    message.msg_iovlen = parts.len() as _;
    message
}

impl End for NativeEnd {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn descriptor(&self, fd: i32) -> i32 {
        fd
    }

    fn is_nonblocking(&self, _ask: impl FnOnce() -> bool) -> bool {
        true
    }

    fn count_received(&self) {}

    fn settle(&self, _link: &Link) {}

    fn bar(&self) {}

    fn during<T>(&self, _is_asleep: bool, call: impl FnOnce() -> T) -> T {
        call()
    }

    fn uncancelled<T>(&self, call: impl FnOnce() -> T) -> T {
        call()
    }

    fn relay(&self, _link: &Link, _fd: i32) -> bool {
        false
    }
}
