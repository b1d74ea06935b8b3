//! The fuzz body: a peer that writes anything into its segment, before and during our calls. Run by libFuzzer and, over the
//! committed corpus, by `cargo test`.

use crate::buffers::{Buffers, part};
use crate::link::{CAPACITY, Link, SEGMENT_BYTES, Word, stance};
use crate::receive::{Moved, Receiving, receive};
use crate::send::{Sending, send};
use crate::table::{self, Reference};
use crate::{readiness, real};
use libc::c_int;
use shm_ring::{OtherSegment, OwnSegment, Writable};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

/// What the other side looks at.
const WORDS: [Word; 9] = [
    Word::Written,
    Word::Mode,
    Word::Rings,
    Word::Processor,
    Word::Read,
    Word::Stance,
    Word::Inside,
    Word::Ringing,
    Word::Sleep,
];
/// Where the ring's bytes begin.
const BYTES_AT: usize = 4096;
/// Bytes of one call at most.
const CALL_BYTES: usize = 1024;
/// Steps of one input, and times that a list of changes is repeated beside our calls.
const STEPS_MAX: usize = 128;
const REPEATS: usize = 8;
/// What stands in a buffer that nobody has filled.
const UNTOUCHED: u8 = 0x5a;

/// The victim's end, linked to a segment that the fuzzer writes.
struct Stage {
    /// Ours and the peer's, both non-blocking.
    ends: [c_int; 2],
    connection: Reference,
    peer: OwnSegment,
}

impl Stage {
    fn new() -> Option<Self> {
        let mut ends = [-1; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: room for two descriptors.
        if unsafe { real::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
            return None;
        }
        let (own, _) = OwnSegment::create(c"fuzz-own", SEGMENT_BYTES).ok()?;
        let (peer, peer_fd) = OwnSegment::create(c"fuzz-peer", SEGMENT_BYTES).ok()?;
        let other = OtherSegment::map(peer_fd.as_fd(), SEGMENT_BYTES).ok()?;
        table::follow(ends[0]);
        let connection = table::find(ends[0])?;
        let link = Link::new(own, other);
        link.set(Word::Sleep, 1);
        link.set(Word::Settled, 1);
        link.set(Word::Stance, stance::READY);
        connection.set_link(link);
        Some(Self { ends, connection, peer })
    }

    fn receive(&self, room: usize, flags: c_int) {
        let Some(link) = self.connection.link() else { return };
        let mut bytes = [UNTOUCHED; CALL_BYTES];
        let at = bytes.as_mut_ptr().cast();
        let parts = [part(at, room)];
        let flags = flags | libc::MSG_DONTWAIT;
        // SAFETY: the bytes outlive the call.
        let buffers = unsafe { Buffers::new(&parts) };
        let call = Receiving { fd: self.ends[0], buffers, flags, with_control: false };
        // SAFETY: as above.
        let mut kernel = |fd, more| real::outcome(unsafe { real::recv(fd, at, room, flags | more) });
        let moved = receive(&self.connection, link, &call, &mut kernel);
        check(moved, room, &[libc::EAGAIN, libc::ECONNRESET]);
        assert!(bytes[room..].iter().all(|byte| *byte == UNTOUCHED), "wrote behind the program's buffer");
    }

    fn send(&self, count: usize) {
        let Some(link) = self.connection.link() else { return };
        let bytes = [1u8; CALL_BYTES];
        let parts = [part(bytes.as_ptr().cast(), count)];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes outlive the call.
        let call = Sending { fd: self.ends[0], buffers: unsafe { Buffers::new(&parts) }, flags };
        // SAFETY: as above.
        let mut kernel = || real::outcome(unsafe { real::send(self.ends[0], bytes.as_ptr().cast(), count, flags) });
        check(send(&self.connection, link, &call, &mut kernel), count, &[libc::EAGAIN, libc::ECONNRESET, libc::EPIPE]);
        assert!(bytes.iter().all(|byte| *byte == 1), "the program's bytes changed");
    }

    /// What a wait would ask.
    fn look(&self) {
        let Some(link) = self.connection.link() else { return };
        let _ = readiness::is_truly_readable(&self.connection, self.ends[0]);
        if let Ok(unread) = readiness::unread_in_all(link, self.ends[0]) {
            assert!(unread <= CAPACITY as usize + STEPS_MAX * CALL_BYTES, "{unread} bytes are unread");
        }
        let _ = (readiness::is_by_ring(link), readiness::has_room(link));
    }

    fn peer_sends(&self, count: usize) {
        let bytes = [2u8; CALL_BYTES];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: no more than there are.
        unsafe { real::send(self.ends[1], bytes.as_ptr().cast(), count.min(CALL_BYTES), flags) };
    }

    fn peer_receives(&self) {
        let mut bytes = [0u8; CALL_BYTES];
        // SAFETY: room for as many.
        unsafe { real::recv(self.ends[1], bytes.as_mut_ptr().cast(), CALL_BYTES, libc::MSG_DONTWAIT) };
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        table::closing(self.ends[0]);
        for end in self.ends {
            // SAFETY: ours.
            unsafe { real::close(end) };
        }
    }
}

fn check(moved: Moved, most: usize, errors: &[c_int]) {
    match moved {
        Ok(count) => assert!(count <= most, "moved {count} of {most} bytes"),
        Err(error) => assert!(errors.contains(&error), "error {error}"),
    }
}

/// A change of the peer's: `word | kind | value`. Kinds: set, add, take away, and bytes put into the ring as an honest peer
/// does. Returns the rest.
fn change<'a>(peer: &OwnSegment, input: &'a [u8]) -> Option<&'a [u8]> {
    let [word, kind, rest @ ..] = input else { return None };
    let word = peer.word(WORDS[usize::from(*word) % WORDS.len()] as usize);
    let (small, behind) = rest.split_first()?;
    match kind % 4 {
        0 => {
            let (value, behind) = rest.split_first_chunk::<8>()?;
            word.store(u64::from_le_bytes(*value), Ordering::SeqCst);
            return Some(behind);
        }
        1 => word.fetch_add(u64::from(*small), Ordering::SeqCst),
        2 => word.fetch_sub(u64::from(*small), Ordering::SeqCst),
        _ => {
            let written = peer.word(Word::Written as usize).load(Ordering::SeqCst);
            let at = (written % (2 * CAPACITY)).min(2 * CAPACITY - 256) as usize;
            peer.copy_in(BYTES_AT + at, &[3; 256][..usize::from(*small)]);
            peer.word(Word::Written as usize).fetch_add(u64::from(*small), Ordering::SeqCst)
        }
    };
    Some(behind)
}

/// Lets a peer do what `input` says. A step is `control | ...`; its low three bits: a change of the peer's words, our
/// receiving (length), receiving that only looks, our sending (length), a look as `poll` makes, bytes that the peer sends
/// and takes out of its socket, and the rest of the input as changes that are made over and over while we receive and send.
///
/// # Panics
/// When more is moved than there was room for, an error is none that a socket has, or anything is left behind.
pub fn hostile_peer(input: &[u8]) {
    let Some(stage) = Stage::new() else { return };
    let mut rest = input;
    for _ in 0..STEPS_MAX {
        let [control, tail @ ..] = rest else { break };
        rest = tail;
        let length = rest.first().map_or(1, |length| usize::from(*length) * 4);
        match control & 7 {
            0 => match change(&stage.peer, rest) {
                Some(behind) => rest = behind,
                None => break,
            },
            1 => stage.receive(length, 0),
            2 => stage.receive(length, libc::MSG_PEEK),
            3 => stage.send(length),
            4 => stage.look(),
            5 => stage.peer_sends(length / 4),
            6 => stage.peer_receives(),
            _ => {
                let changes = rest;
                std::thread::scope(|scope| {
                    let peer = scope.spawn(|| {
                        for _ in 0..REPEATS {
                            let mut left = Some(changes);
                            while let Some(some) = left.filter(|left| !left.is_empty()) {
                                left = change(&stage.peer, some);
                            }
                        }
                    });
                    for turn in 0..REPEATS {
                        stage.receive(64 * turn, 0);
                        stage.send(64 * turn);
                        stage.look();
                    }
                    // A scope ends before its threads do. What one still holds then, the leak checker would call a leak.
                    peer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                });
                break;
            }
        }
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn hostile_peers_of_the_corpus() {
        super::replay::Variations::every(7).replay("swap_peer", 5, super::hostile_peer);
        assert_eq!(crate::connection::all().count(), 0, "connections were left behind");
    }
}
