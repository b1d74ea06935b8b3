//! The models. Each side is one thread with the library's own sending, receiving and going back.

use super::table::Reference;
use super::{real, segment, without_fences};
use crate::buffers::{Buffers, part};
use crate::link::{CAPACITY, Link, Word, stance};
use crate::plain;
use crate::receive::{Receiving, receive};
use crate::send::{Sending, send};
use loom::thread;

/// A side: its descriptor and its connection.
struct Side {
    fd: i32,
    connection: Reference,
}

impl Side {
    fn send(&self, bytes: &[u8]) {
        let parts = [part(bytes.as_ptr().cast(), bytes.len())];
        // SAFETY: the bytes outlive the call.
        let call = Sending { fd: self.fd, buffers: unsafe { Buffers::new(&parts) }, flags: 0 };
        // SAFETY: as above.
        let mut kernel = || real::outcome(unsafe { real::send(self.fd, bytes.as_ptr().cast(), bytes.len(), 0) });
        assert_eq!(send(&self.connection, &self.connection.link, &call, &mut kernel), Ok(bytes.len()));
    }

    /// Receives until there are `total` bytes.
    fn receive(&self, total: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < total {
            let mut bytes = [0u8; 4];
            let at = bytes.as_mut_ptr().cast();
            let wanted = (total - all.len()).min(bytes.len());
            let parts = [part(at, wanted)];
            // SAFETY: the bytes outlive the call.
            let buffers = unsafe { Buffers::new(&parts) };
            let call = Receiving { fd: self.fd, buffers, flags: 0, with_control: false };
            // SAFETY: as above.
            let mut kernel = |fd, more| real::outcome(unsafe { real::recv(fd, at, wanted, more) });
            let count = receive(&self.connection, &self.connection.link, &call, &mut kernel);
            all.extend(&bytes[..count.expect("an honest sender")]);
        }
        all
    }

    /// As a program that knows nothing of rings.
    fn receive_bare(&self, total: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < total {
            let mut byte = 0u8;
            // SAFETY: one byte.
            assert_eq!(unsafe { real::recv(self.fd, std::ptr::from_mut(&mut byte).cast(), 1, 0) }, 1);
            all.push(byte);
        }
        all
    }
}

/// Both sides of a linked connection, each ready for the other's ring.
fn sides(first_mode: u64) -> (Side, Side) {
    let ((own_a, other_a), (own_b, other_b)) = (segment(2 * CAPACITY), segment(2 * CAPACITY));
    let side = |fd, own, other| {
        let link = Link::new(own, other);
        link.set(Word::Mode, first_mode);
        link.set(Word::Sleep, 1);
        link.set(Word::Settled, 1);
        link.set(Word::Stance, stance::READY);
        // The clock stands still, so nobody looks whether the other lives.
        link.set(Word::LookedAt, 1);
        Side { fd, connection: Reference { link } }
    };
    (side(0, own_a, other_b), side(1, own_b, other_a))
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    // More switches at any point than this were never needed to find an error in a protocol of two.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn reader_sleeps(fenced: bool) {
    check(move || {
        let (writing, reading) = sides(1);
        if !fenced {
            without_fences();
        }
        let thread = thread::spawn(move || {
            super::second_side();
            writing.send(&[1]);
            writing.send(&[2]);
        });
        assert_eq!(reading.receive(2), [1, 2]);
        thread.join().expect("the writer is done");
    });
}

#[test]
fn a_sleeping_reader_is_always_woken() {
    reader_sleeps(true);
}

/// The model would notice: without the fences a wake-up is lost.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fences_a_reader_is_lost() {
    reader_sleeps(false);
}

/// From the socket to the ring while the reader may be taking from the socket, and back when the ring is full.
#[test]
fn bytes_keep_their_order_through_all_turns() {
    check(|| {
        let (writing, reading) = sides(0);
        let thread = thread::spawn(move || {
            super::second_side();
            writing.send(&[1]);
            writing.send(&[2, 3, 4]);
            writing.send(&[5]);
        });
        assert_eq!(reading.receive(5), [1, 2, 3, 4, 5]);
        thread.join().expect("the writer is done");
    });
}

/// Both wait for the other in turn, so each side's doorbells and announcements meet the other's.
#[test]
fn both_sides_answer_each_other() {
    check(|| {
        let (near, far) = sides(1);
        let thread = thread::spawn(move || {
            super::second_side();
            assert_eq!(far.receive(1), [1]);
            far.send(&[2]);
        });
        near.send(&[1]);
        assert_eq!(near.receive(1), [2]);
        thread.join().expect("the other side is done");
    });
}

/// As below, but the writer may have turned to the socket with bytes unread when the reader leaves. Then the reader takes
/// those out of the ring itself, as a relay does.
#[test]
fn a_reader_goes_back_while_the_ring_is_full() {
    check(|| {
        let (writing, reading) = sides(1);
        let thread = thread::spawn(move || {
            super::second_side();
            writing.send(&[1, 2, 3]);
            writing.send(&[4, 5]);
            assert_eq!(writing.receive(1), [9]);
        });
        let link = &reading.connection.link;
        plain::go_back(&reading.connection, reading.fd);
        let mut all = Vec::new();
        let mut is_rest_taken = false;
        while all.len() < 5 {
            let some = reading.receive(1);
            if !is_rest_taken && plain::is_left_in_ring(link, false) {
                is_rest_taken = true;
                let mut rest = [std::mem::MaybeUninit::uninit(); CAPACITY as usize];
                let count = link.unread().expect("an honest writer") - all.len();
                link.take(all.len(), &mut rest[..count]);
                // SAFETY: `take` has filled them.
                all.extend(rest[..count].iter().map(|byte| unsafe { byte.assume_init() }));
            }
            all.extend(some);
        }
        assert_eq!(all, [1, 2, 3, 4, 5]);
        reading.send(&[9]);
        thread.join().expect("the writer is done");
    });
}

/// The reader leaves the ring at any point of the writer's calls: what follows comes through the socket, without a gap,
/// without a doorbell among it, and without anybody waiting for ever.
#[test]
fn a_reader_goes_back_at_any_byte() {
    check(|| {
        let (writing, reading) = sides(1);
        let thread = thread::spawn(move || {
            super::second_side();
            writing.send(&[1]);
            writing.send(&[2, 3]);
            assert_eq!(writing.receive(1), [9]);
        });
        let mut all = reading.receive(1);
        plain::go_back(&reading.connection, reading.fd);
        all.extend(reading.receive_bare(3 - all.len()));
        assert_eq!(all, [1, 2, 3]);
        reading.send(&[9]);
        thread.join().expect("the writer is done");
    });
}

/// The same behind the place where a ring of half the room would begin again.
#[test]
fn a_reader_goes_back_in_the_second_half_of_a_ring() {
    check(|| {
        let (writing, reading) = sides(1);
        writing.send(&[1, 2, 3, 4]);
        assert_eq!(reading.receive(4), [1, 2, 3, 4]);
        let thread = thread::spawn(move || {
            super::second_side();
            writing.send(&[5, 6, 7]);
            assert_eq!(writing.receive(1), [9]);
        });
        plain::go_back(&reading.connection, reading.fd);
        assert_eq!(reading.receive_bare(3), [5, 6, 7]);
        reading.send(&[9]);
        thread.join().expect("the writer is done");
    });
}
