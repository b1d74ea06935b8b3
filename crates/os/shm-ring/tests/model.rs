//! The ring beside a `VecDeque`, and against a neighbour that writes any positions.

use bytes::BytesMut;
use proptest::prelude::*;
use shm_ring::{
    Capacity, ControlLayout, ControlReader, ControlWriter, Fault, OtherSegment, OwnSegment, RingLayout, RingReader,
    RingWriter, Segment, View, Writable,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

type Sides = (View<OwnSegment, OtherSegment>, View<OwnSegment, OtherSegment>);

const LEN: usize = 8192;
const CAPACITY: usize = 16;

/// The words stand before and the bytes behind what must never be touched.
fn layout() -> RingLayout {
    let capacity = Capacity::new(CAPACITY as u64).expect("a power of two");
    RingLayout { capacity, bytes_at: 4001, write_at: 128, read_at: 256 }
}

/// The writer's view and the reader's.
fn sides() -> Sides {
    let (a, b) = (Segment::create("a", LEN).expect("small"), Segment::create("b", LEN).expect("small"));
    let view = |own: &Segment, other: &Segment| View {
        own: OwnSegment::map(own.writable(), LEN).expect("fresh"),
        other: OtherSegment::map(other.read_only(), LEN).expect("fresh"),
    };
    (view(&a, &b), view(&b, &a))
}

#[derive(Debug, Clone)]
enum Operation {
    Write(usize),
    WriteAll(usize, usize),
    Read(usize),
    ReadTo(usize),
    Peek(usize),
    Skip(usize),
    FromFd(usize),
    IntoFd(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let size = 0..CAPACITY + 3;
    prop_oneof![
        size.clone().prop_map(Operation::Write),
        (0..CAPACITY, 0..CAPACITY).prop_map(|(a, b)| Operation::WriteAll(a, b)),
        size.clone().prop_map(Operation::Read),
        size.clone().prop_map(Operation::ReadTo),
        size.clone().prop_map(Operation::Peek),
        size.clone().prop_map(Operation::Skip),
        size.clone().prop_map(Operation::FromFd),
        size.prop_map(Operation::IntoFd),
    ]
}

/// What both ends should hold, and a source of bytes that never repeats soon.
struct Model {
    writing: View<OwnSegment, OtherSegment>,
    reading: View<OwnSegment, OtherSegment>,
    writer: RingWriter,
    reader: RingReader,
    expected: VecDeque<u8>,
    next: u8,
    pipe: (std::io::PipeReader, std::io::PipeWriter),
}

impl Model {
    fn new(start: u64) -> Self {
        let (writing, reading) = sides();
        writing.own.store(layout().write_at, start, Ordering::Release);
        reading.own.store(layout().read_at, start, Ordering::Release);
        Self {
            writing,
            reading,
            writer: RingWriter::starting_at(layout(), start),
            reader: RingReader::starting_at(layout(), start),
            expected: VecDeque::new(),
            next: 0,
            pipe: std::io::pipe().expect("two descriptors"),
        }
    }

    fn fresh(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.next = self.next.wrapping_mul(5).wrapping_add(3);
                self.next
            })
            .collect()
    }

    fn room(&self) -> usize {
        CAPACITY - self.expected.len()
    }

    fn taken(&mut self, count: usize) -> Vec<u8> {
        self.expected.drain(..count).collect()
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write(count) => {
                let bytes = self.fresh(count);
                let written = self.writer.write(&self.writing, &bytes).expect("no fault");
                assert_eq!(written, count.min(self.room()));
                self.expected.extend(&bytes[..written]);
            }
            Operation::WriteAll(first, second) => {
                let (first, second) = (self.fresh(first), self.fresh(second));
                let written = self.writer.write_all(&self.writing, &[&first, &second]).expect("no fault");
                assert_eq!(written, first.len() + second.len() <= self.room());
                if written {
                    self.expected.extend(first.iter().chain(&second));
                }
            }
            Operation::FromFd(count) => self.write_from_fd(count),
            Operation::Read(max) => {
                let mut bytes = vec![0; max];
                let count = self.reader.read(&self.reading, &mut bytes).expect("no fault");
                assert_eq!(count, max.min(self.expected.len()));
                assert_eq!(bytes[..count], self.taken(count));
            }
            Operation::ReadTo(max) => {
                let mut bytes = BytesMut::from(&b"kept"[..]);
                let count = self.reader.read_to(&self.reading, max, &mut bytes).expect("no fault");
                assert_eq!(count, max.min(self.expected.len()));
                assert_eq!((&bytes[..4], &bytes[4..]), (&b"kept"[..], &self.taken(count)[..]));
            }
            Operation::Peek(max) => {
                let mut bytes = BytesMut::new();
                let count = self.reader.peek_to(&self.reading, max, &mut bytes).expect("no fault");
                assert_eq!(count, max.min(self.expected.len()));
                assert!(bytes.iter().eq(self.expected.iter().take(count)));
            }
            Operation::Skip(count) => {
                let to = self.reader.position().wrapping_add(count as u64);
                let skipped = self.reader.skip_to(&self.reading, to);
                if count <= self.expected.len() {
                    assert_eq!(skipped, Ok(()));
                    self.taken(count);
                } else {
                    assert_eq!(skipped, Err(Fault::Position));
                }
            }
            Operation::IntoFd(max) => {
                let sink = self.pipe.1.as_fd();
                let count = self.reader.read_into_fd(&self.reading, sink, max).expect("an empty pipe takes it");
                assert_eq!(count, max.min(self.expected.len()));
                let mut bytes = vec![0; count];
                self.pipe.0.read_exact(&mut bytes).expect("just written");
                assert_eq!(bytes, self.taken(count));
            }
        }
        assert_eq!(self.reader.unread(&self.reading), Ok(self.expected.len()));
        assert_eq!(self.writer.room(&self.writing), Ok(self.room()));
        assert_eq!(self.writer.is_drained(&self.writing), Ok(self.expected.is_empty()));
        let distance = self.writer.position().wrapping_sub(self.reader.position());
        assert_eq!(distance, self.expected.len() as u64);
    }

    fn write_from_fd(&mut self, count: usize) {
        let bytes = self.fresh(count);
        self.pipe.1.write_all(&bytes).expect("an empty pipe takes it");
        let arrived = match self.writer.write_from_fd(&self.writing, self.pipe.0.as_fd(), count) {
            Ok(arrived) => arrived,
            Err(error) => {
                assert_eq!((error, self.room()), (shm_ring::TransferError::Full, 0));
                0
            }
        };
        assert_eq!(arrived, count.min(self.room()));
        self.expected.extend(&bytes[..arrived]);
        let mut left = vec![0; count - arrived];
        self.pipe.0.read_exact(&mut left).expect("what did not fit is still there");
        assert_eq!(left, bytes[arrived..]);
    }
}

/// A small generator for the neighbour: no run of the property differs from its replay.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 16
}

proptest! {
    #[test]
    fn the_ring_is_a_bounded_queue_of_bytes(
        start in prop_oneof![Just(0), Just(u64::MAX - 20), any::<u64>()],
        operations in proptest::collection::vec(operation(), 1..120),
    ) {
        let mut model = Model::new(start);
        for operation in &operations {
            model.run(operation);
        }
    }

    /// The neighbour's positions are random, mostly near the truth. The reader must then behave exactly as if
    /// it had checked each against the protocol, and never read past what was published.
    #[test]
    fn a_reader_believes_only_possible_positions(start in any::<u64>(), seed in any::<u64>()) {
        let (writing, reading) = sides();
        let mut state = seed;
        let mut reader = RingReader::starting_at(layout(), start);
        let (mut read, mut believed) = (start, start);
        for _ in 0..200 {
            let jump = scramble(&mut state);
            let claimed = match jump % 4 {
                0 => jump,
                1 => believed.wrapping_sub(jump % 40),
                _ => read.wrapping_add(jump % 40),
            };
            writing.own.store(layout().write_at, claimed, Ordering::Release);
            let possible = claimed.wrapping_sub(believed) <= CAPACITY as u64 - believed.wrapping_sub(read);
            let mut bytes = [0; 64];
            let wanted = (scramble(&mut state) % 20) as usize;
            // A reader that knows of enough bytes does not look.
            let looked = believed.wrapping_sub(read) < wanted as u64;
            let result = reader.read(&reading, &mut bytes[..wanted]);
            if looked && !possible {
                prop_assert_eq!(result, Err(Fault::Position));
                continue;
            }
            if looked {
                believed = claimed;
            }
            let count = (believed.wrapping_sub(read)).min(wanted as u64);
            prop_assert_eq!(result, Ok(count as usize));
            read = read.wrapping_add(count);
            prop_assert_eq!(reader.position(), read);
        }
    }

    #[test]
    fn a_writer_believes_only_possible_positions(start in any::<u64>(), seed in any::<u64>()) {
        let (writing, reading) = sides();
        reading.own.store(layout().read_at, start, Ordering::Release);
        let mut state = seed;
        let mut writer = RingWriter::starting_at(layout(), start);
        let mut believed = start;
        for _ in 0..200 {
            let jump = scramble(&mut state);
            let claimed = match jump % 4 {
                0 => jump,
                1 => believed.wrapping_sub(jump % 40),
                _ => believed.wrapping_add(jump % 20),
            };
            reading.own.store(layout().read_at, claimed, Ordering::Release);
            let unread = writer.position().wrapping_sub(believed);
            let possible = claimed.wrapping_sub(believed) <= unread;
            let result = writer.room(&writing);
            if possible {
                believed = claimed;
                let room = CAPACITY - writer.position().wrapping_sub(believed) as usize;
                prop_assert_eq!(result, Ok(room));
                let written = writer.write(&writing, &[0; 7][..(jump % 8) as usize]);
                prop_assert_eq!(written, Ok(room.min((jump % 8) as usize)));
            } else {
                prop_assert_eq!(result, Err(Fault::Position));
            }
        }
    }

    #[test]
    fn a_control_queue_delivers_whole_messages_in_order(puts in proptest::collection::vec(any::<bool>(), 1..200)) {
        let (writing, reading) = sides();
        let layout = ControlLayout {
            capacity: Capacity::new(4).expect("a power of two"),
            messages_at: 1000,
            write_at: 64,
            read_at: 72,
        };
        let mut writer = ControlWriter::<5>::new(layout);
        let mut reader = ControlReader::<5>::new(layout);
        let mut expected = VecDeque::new();
        for (number, put) in puts.into_iter().enumerate() {
            if put {
                let message = [number as u8; 5];
                let taken = writer.put(&writing, &message).expect("no fault");
                prop_assert_eq!(taken, expected.len() < 4);
                if taken {
                    expected.push_back(message);
                }
            } else {
                prop_assert_eq!(reader.has_message(&reading), !expected.is_empty());
                prop_assert_eq!(reader.take(&reading), Ok(expected.pop_front()));
            }
        }
    }
}

#[test]
fn a_control_queue_refuses_impossible_positions() {
    let (writing, reading) = sides();
    let layout = ControlLayout {
        capacity: Capacity::new(4).expect("a power of two"),
        messages_at: 1000,
        write_at: 64,
        read_at: 72,
    };
    let mut reader = ControlReader::<5>::new(layout);
    for impossible in [5, 6, u64::MAX] {
        writing.own.store(64, impossible, Ordering::Release);
        assert!(reader.has_message(&reading));
        assert_eq!(reader.take(&reading), Err(Fault::Position));
    }
    let mut writer = ControlWriter::<5>::new(layout);
    for _ in 0..4 {
        assert_eq!(writer.put(&writing, b"12345"), Ok(true));
    }
    for impossible in [5, u64::MAX] {
        reading.own.store(72, impossible, Ordering::Release);
        assert_eq!(writer.put(&writing, b"12345"), Err(Fault::Position));
    }
}

#[test]
fn capacities_are_powers_of_two() {
    for units in [0, 3, 4097, u64::MAX, 1 << 63] {
        assert!(Capacity::new(units).is_err(), "{units}");
    }
    assert_eq!(Capacity::new(1 << 62).map(Capacity::units), Ok(1 << 62));
}
