//! Ends that speak the protocol themselves: beside each other, beside one that ends, and beside one that lies.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use swap_link::NativeEnd;
use swap_link::link::{CAPACITY, Word, stance};
use swap_link::rendezvous::new_segment;
use swap_link::statistics::{self, Count};
use swap_link::worth::{LARGE_BYTES, LEAVE_AFTER, TURN_AFTER};

/// Most bytes of one call: more than a ring holds.
const CALL_BYTES: usize = 200_000;

struct Side {
    end: NativeEnd,
    socket: UnixStream,
}

impl Side {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the kernel calls the socket readable.
    fn is_rung(&self) -> bool {
        let mut entry =
            libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&self.socket), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry.
        unsafe { libc::poll(&mut entry, 1, 0) == 1 }
    }

    /// Whether what it sends goes by its ring, which is not full.
    fn sends_by_ring(&self) -> bool {
        self.end.has_room()
    }
}

/// Sends a message to an end that sleeps or does not, and has it received.
fn pass(from: &Side, to: &Side, count: usize, sleeps: bool) {
    if sleeps {
        assert!(!to.end.is_readable_or_sleeps(to.fd()), "all was received");
    }
    let bytes: Vec<u8> = (0..count).map(|place| (place % 251) as u8).collect();
    assert_eq!(from.end.send(from.fd(), &bytes).expect("room"), count);
    assert!(!sleeps || to.is_rung(), "nobody woke the reader");
    to.end.wake();
    let (mut received, mut buffer) = (Vec::<u8>::new(), vec![0; count]);
    while received.len() < count {
        let count = to.end.receive(to.fd(), &mut buffer).expect("bytes");
        received.extend(&buffer[..count]);
    }
    assert!(received == bytes, "wrong bytes");
}

/// Large messages, until the direction is at its ring.
fn turn_to_ring(from: &Side, to: &Side) {
    for _ in 0..TURN_AFTER {
        pass(from, to, LARGE_BYTES, true);
    }
    assert!(from.sends_by_ring());
}

fn sockets() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("two sockets");
    for socket in [&a, &b] {
        socket.set_nonblocking(true).expect("a socket");
    }
    (a, b)
}

fn sides() -> (Side, Side) {
    let (a, b) = sockets();
    let ((own_a, fd_a), (own_b, fd_b)) = (new_segment().expect("memory"), new_segment().expect("memory"));
    let end_a = NativeEnd::new(own_a, fd_b.as_fd()).expect("a segment");
    let end_b = NativeEnd::new(own_b, fd_a.as_fd()).expect("a segment");
    (Side { end: end_a, socket: a }, Side { end: end_b, socket: b })
}

/// Numbers that look random, the same for each seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Bytes under way in one direction.
#[derive(Default)]
struct Way {
    under_way: VecDeque<u8>,
    next: u8,
}

impl Way {
    fn send(&mut self, from: &Side, to: &Side, count: usize) {
        let bytes: Vec<u8> = (0..count).map(|place| self.next.wrapping_add((place % 251) as u8)).collect();
        let sleeps = !to.end.is_readable_or_sleeps(to.fd()) && !to.is_rung();
        match from.end.send(from.fd(), &bytes) {
            Ok(sent) => {
                self.under_way.extend(&bytes[..sent]);
                self.next = self.next.wrapping_add(89);
                assert!(!sleeps || sent == 0 || to.is_rung(), "nobody woke the reader");
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
    }

    fn receive(&mut self, to: &Side, room: usize) {
        let mut buffer = vec![0; room.max(1)];
        to.end.wake();
        match to.end.receive(to.fd(), &mut buffer) {
            Ok(count) => {
                assert!(count > 0, "the stream ended");
                let expected: Vec<u8> = self.under_way.drain(..count.min(self.under_way.len())).collect();
                assert!(buffer[..count] == expected, "wrong bytes");
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                assert!(self.under_way.is_empty(), "{} bytes are lost", self.under_way.len());
            }
        }
    }
}

#[test]
fn bytes_keep_their_order_by_ring_and_socket_and_sleepers_are_woken() {
    statistics::want();
    for seed in 1..=8 {
        let (a, b) = sides();
        let (mut there, mut back) = (Way::default(), Way::default());
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..2000 {
            let most = [3000, 60_000, CALL_BYTES][numbers.below(3)];
            let count = 1 + numbers.below(most);
            match numbers.below(4) {
                0 => there.send(&a, &b, count),
                1 => there.receive(&b, count),
                2 => back.send(&b, &a, count),
                _ => back.receive(&a, count),
            }
        }
        while !there.under_way.is_empty() || !back.under_way.is_empty() {
            there.receive(&b, CALL_BYTES);
            back.receive(&a, CALL_BYTES);
        }
    }
    let counts: Vec<_> = statistics::counts().collect();
    for name in [Count::RingSends, Count::RingReceives, Count::Spills, Count::Bells] {
        let (name, count) = counts[name as usize];
        assert!(count > 100, "{name}: {count}");
    }
}

#[test]
fn an_end_comes_behind_the_last_byte() {
    for shuts_down in [true, false] {
        let (a, b) = sides();
        let mut buffer = [0; 64];
        turn_to_ring(&a, &b);
        assert_eq!(a.end.send(a.fd(), b"last").expect("room"), 4);
        if shuts_down {
            a.end.shut_down_write();
            a.socket.shutdown(Shutdown::Write).expect("connected");
        } else {
            a.end.leave(a.fd());
            drop(a);
        }
        assert_eq!(b.end.receive(b.fd(), &mut buffer).expect("the last bytes"), 4);
        b.end.wake();
        assert_eq!(b.end.receive(b.fd(), &mut buffer).expect("the end"), 0, "shut down: {shuts_down}");
    }
}

#[test]
fn large_messages_turn_a_direction_to_its_ring_and_small_ones_turn_it_back() {
    let (a, b) = sides();
    for (from, to) in [(&a, &b), (&b, &a)] {
        for _ in 0..1000 {
            pass(from, to, LARGE_BYTES - 1, true);
            assert!(!from.sends_by_ring());
        }
        for number in 1..=TURN_AFTER {
            pass(from, to, LARGE_BYTES, true);
            assert_eq!(from.sends_by_ring(), number == TURN_AFTER, "large message {number}");
        }
    }
    for _ in 0..1000 {
        pass(&a, &b, 64, false);
        assert!(a.sends_by_ring(), "whoever is awake needs no doorbell");
    }
    for number in 1..LEAVE_AFTER {
        pass(&b, &a, 64, true);
        assert!(b.sends_by_ring(), "small message {number}");
    }
    pass(&b, &a, 64, true);
    assert!(!b.sends_by_ring() && a.sends_by_ring(), "each direction by itself");
}

#[test]
fn a_direction_does_not_turn_without_end() {
    let (a, b) = sides();
    let alternate = |is_by_ring| {
        for _ in 0..1000 {
            for size in [LARGE_BYTES, 64] {
                pass(&a, &b, size, true);
                assert_eq!(a.sends_by_ring(), is_by_ring, "an even mixture changes nothing");
            }
        }
    };
    alternate(false);
    turn_to_ring(&a, &b);
    alternate(true);
    // Longer runs do, but each way back doubles what the next turn asks for: 8, 16, 32 and 64 messages.
    let mut ways_back = 0;
    for _ in 0..100 {
        for size in [LARGE_BYTES, 64] {
            for _ in 0..64 {
                let was_by_ring = a.sends_by_ring();
                pass(&a, &b, size, true);
                ways_back += u32::from(was_by_ring && !a.sends_by_ring());
            }
        }
    }
    assert_eq!(ways_back, 4);
}

/// The victim, and a peer's segment to be written at will.
fn victim() -> (Side, shm_ring::OwnSegment, UnixStream) {
    let (a, b) = sockets();
    let ((own, _fd), (theirs, theirs_fd)) = (new_segment().expect("memory"), new_segment().expect("memory"));
    let end = NativeEnd::new(own, theirs_fd.as_fd()).expect("a segment");
    (Side { end, socket: a }, theirs, b)
}

#[test]
fn positions_that_cannot_be_reset_the_connection() {
    let lies: [&[(Word, u64)]; 4] = [
        &[(Word::Mode, 1), (Word::Written, CAPACITY + 1)],
        &[(Word::Mode, 1), (Word::Written, 1 << 63)],
        &[(Word::Mode, 1), (Word::Written, 100), (Word::Written, 50)],
        &[(Word::Mode, 1), (Word::Rings, u64::MAX)],
    ];
    for (number, lie) in lies.iter().enumerate() {
        let (side, theirs, _socket) = victim();
        let mut buffer = [0; 10];
        let mut last = Ok(0);
        for (word, value) in *lie {
            theirs.word(*word as usize).store(*value, Ordering::SeqCst);
            last = side.end.receive(side.fd(), &mut buffer);
        }
        // What was known of before is still received.
        let further = (0..20).map(|_| side.end.receive(side.fd(), &mut buffer));
        let mut ends = std::iter::once(last).chain(further).map(|received| received.map_err(|error| error.kind()));
        assert!(ends.any(|end| end == Err(io::ErrorKind::ConnectionReset)), "lie {number}");
    }
    let (side, theirs, mut socket) = victim();
    theirs.word(Word::Stance as usize).store(stance::READY, Ordering::SeqCst);
    theirs.word(Word::Read as usize).store(1 << 40, Ordering::SeqCst);
    let mut send = || {
        // It turns to its ring only when the socket has been read empty.
        let _ = io::Read::read(&mut socket, &mut [0; 16_384]);
        side.end.send(side.fd(), &[1; 16_384]).map_err(|error| error.kind())
    };
    let sent: Vec<_> = (0..40).map(|_| send()).collect();
    assert!(sent.contains(&Err(io::ErrorKind::ConnectionReset)), "{sent:?}");
}

/// Whoever turns, rings and moves his positions without end keeps no call of ours from returning.
#[test]
fn nobody_keeps_a_call_from_returning() {
    let (side, theirs, mut socket) = victim();
    let stops = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = Numbers(77);
            while !stops.load(Ordering::Relaxed) {
                let word = [Word::Mode, Word::Rings, Word::Written, Word::Ringing, Word::Stance][numbers.below(5)];
                theirs.word(word as usize).fetch_add(1, Ordering::SeqCst);
                if numbers.below(8) == 0 {
                    let _ = io::Write::write(&mut socket, &[0; 64]);
                    let _ = io::Read::read(&mut socket, &mut [0; 65_536]);
                }
            }
        });
        let mut buffer = [0; 4096];
        for _ in 0..20_000 {
            let _ = side.end.is_readable_or_sleeps(side.fd());
            side.end.wake();
            let _ = side.end.receive(side.fd(), &mut buffer);
            let _ = side.end.send(side.fd(), &buffer);
        }
        stops.store(true, Ordering::Relaxed);
    });
}
