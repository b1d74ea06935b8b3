//! All interleavings of small queues and of sleeping and ringing, by loom. Runs only with `--cfg loom`; the
//! command is in the README.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use shm_ring::{
    ActivityWatch, ActivityWriter, Capacity, ControlLayout, ControlReader, ControlWriter, Fault, Readable, RingLayout,
    RingReader, RingWriter, Sleeper, View, Waker, Writable,
};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

const WRITE: usize = 0;
const READ: usize = 8;
const SLEEP: usize = 16;
const ACTIVITY: usize = 24;
const WORDS: usize = 4;
const BYTES: usize = 8;

/// A segment that loom watches: it objects to bytes that are read while they are written.
struct Memory {
    words: Vec<AtomicU64>,
    bytes: Vec<UnsafeCell<u8>>,
    fenced: bool,
}

#[derive(Clone)]
struct Shared(Arc<Memory>);

impl Shared {
    fn new(fenced: bool) -> Self {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let bytes = (0..BYTES).map(|_| UnsafeCell::new(0)).collect();
        Self(Arc::new(Memory { words, bytes, fenced }))
    }
}

// SAFETY: `copy_out` writes all of `into`.
unsafe impl Readable for Shared {
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.0.words[offset / 8].load(order)
    }

    fn copy_out(&self, offset: usize, into: &mut [MaybeUninit<u8>]) {
        for (index, byte) in into.iter_mut().enumerate() {
            // SAFETY: loom checks that nobody writes meanwhile.
            byte.write(self.0.bytes[offset + index].with(|byte| unsafe { *byte }));
        }
    }
}

impl Writable for Shared {
    fn store(&self, offset: usize, value: u64, order: Ordering) {
        self.0.words[offset / 8].store(value, order);
    }

    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for (index, new) in bytes.iter().enumerate() {
            // SAFETY: loom checks that nobody reads meanwhile.
            self.0.bytes[offset + index].with_mut(|byte| unsafe { *byte = *new });
        }
    }

    fn fence(&self) {
        if self.0.fenced {
            fence(Ordering::SeqCst);
        }
    }
}

type Side = View<Shared, Shared>;

fn sides(fenced: bool) -> (Side, Side) {
    let (a, b) = (Shared::new(fenced), Shared::new(fenced));
    (View { own: a.clone(), other: b.clone() }, View { own: b, other: a })
}

fn ring(capacity: u64) -> RingLayout {
    let capacity = Capacity::new(capacity).expect("a power of two");
    RingLayout { capacity, bytes_at: 0, write_at: WRITE, read_at: READ }
}

/// A doorbell: rings add up until the sleeper takes them.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn ring(&self) {
        *self.0.0.lock().expect("no panic before") = true;
        self.0.1.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.0.0.lock().expect("no panic before");
        while !*rung {
            rung = self.0.1.wait(rung).expect("no panic before");
        }
        *rung = false;
    }
}

fn write_all(view: &Side, writer: &mut RingWriter, waker: &mut Waker, bell: &Bell, bytes: &[u8]) {
    assert_eq!(writer.write(view, bytes), Ok(bytes.len()));
    if waker.must_ring(&view.own, &view.other) {
        bell.ring();
    }
}

fn read_sleeping(view: &Side, reader: &mut RingReader, sleeper: &Sleeper, bell: &Bell, total: usize) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    while all.len() < total {
        let mut bytes = [0; 2];
        let count = reader.read(view, &mut bytes).expect("an honest writer");
        all.extend(&bytes[..count]);
        if count == 0 {
            sleeper.announce(&view.own);
            if reader.unread(view) == Ok(0) {
                bell.wait();
            }
            sleeper.awake(&view.own);
        }
    }
    all
}

/// The reader sleeps whenever the ring is empty; loom reports a deadlock if a wake-up is lost.
fn reader_sleeps(fenced: bool) {
    loom::model(move || {
        let (writing, reading) = sides(fenced);
        let bell = Bell::new();
        let ringing = bell.clone();
        let thread = thread::spawn(move || {
            let (mut writer, mut waker) = (RingWriter::new(ring(2)), Waker::new(SLEEP));
            write_all(&writing, &mut writer, &mut waker, &ringing, &[1]);
            write_all(&writing, &mut writer, &mut waker, &ringing, &[2]);
        });
        let (mut reader, sleeper) = (RingReader::new(ring(2)), Sleeper::new(SLEEP));
        assert_eq!(read_sleeping(&reading, &mut reader, &sleeper, &bell, 2), [1, 2]);
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

#[test]
fn a_writer_that_sleeps_for_room_is_always_woken() {
    loom::model(|| {
        let (writing, reading) = sides(true);
        let bell = Bell::new();
        let ringing = bell.clone();
        // One byte fits and is written before the reader starts, so the second must wait for room.
        let mut writer = RingWriter::new(ring(1));
        assert_eq!(writer.write(&writing, &[1]), Ok(1));
        let thread = thread::spawn(move || {
            let sleeper = Sleeper::new(SLEEP);
            while writer.write(&writing, &[2]) == Ok(0) {
                sleeper.announce(&writing.own);
                if writer.room(&writing) == Ok(0) {
                    bell.wait();
                }
                sleeper.awake(&writing.own);
            }
        });
        let (mut reader, mut waker) = (RingReader::new(ring(1)), Waker::new(SLEEP));
        let mut bytes = [0; 1];
        assert_eq!(reader.read(&reading, &mut bytes), Ok(1));
        assert_eq!(bytes, [1]);
        if waker.must_ring(&reading.own, &reading.other) {
            ringing.ring();
        }
        thread.join().expect("the second byte was written");
        assert_eq!(reader.read(&reading, &mut bytes), Ok(1));
        assert_eq!(bytes, [2]);
    });
}

#[test]
fn bytes_arrive_in_order_through_a_wrapping_ring() {
    loom::model(|| {
        let (writing, reading) = sides(true);
        let thread = thread::spawn(move || {
            let mut writer = RingWriter::new(ring(2));
            let mut rest: &[u8] = &[1, 2, 3];
            while !rest.is_empty() {
                let written = writer.write(&writing, rest).expect("an honest reader");
                rest = &rest[written..];
                thread::yield_now();
            }
        });
        let mut reader = RingReader::new(ring(2));
        let mut all: Vec<u8> = Vec::new();
        while all.len() < 3 {
            let mut bytes = [0; 2];
            let count = reader.read(&reading, &mut bytes).expect("an honest writer");
            all.extend(&bytes[..count]);
            thread::yield_now();
        }
        assert_eq!(all, [1, 2, 3]);
        thread.join().expect("the writer is done");
    });
}

#[test]
fn control_messages_arrive_whole_and_in_order() {
    loom::model(|| {
        let (writing, reading) = sides(true);
        let capacity = Capacity::new(2).expect("a power of two");
        let layout = ControlLayout { capacity, messages_at: 0, write_at: WRITE, read_at: READ };
        let thread = thread::spawn(move || {
            let mut writer = ControlWriter::<2>::new(layout);
            for message in [[1, 1], [2, 2], [3, 3]] {
                while !writer.put(&writing, &message).expect("an honest reader") {
                    thread::yield_now();
                }
            }
        });
        let mut reader = ControlReader::<2>::new(layout);
        for expected in [[1, 1], [2, 2], [3, 3]] {
            let message = loop {
                if let Some(message) = reader.take(&reading).expect("an honest writer") {
                    break message;
                }
                thread::yield_now();
            };
            assert_eq!(message, expected);
        }
        thread.join().expect("the writer is done");
    });
}

/// The sleeper looks only at the activity word before it sleeps, and at the ring only after a change of it.
#[test]
fn an_activity_word_announces_every_publish() {
    loom::model(|| {
        let (writing, reading) = sides(true);
        let bell = Bell::new();
        let ringing = bell.clone();
        let thread = thread::spawn(move || {
            let (mut writer, mut waker) = (RingWriter::new(ring(2)), Waker::new(SLEEP));
            let mut activity = ActivityWriter::new(ACTIVITY, 1);
            for byte in [1, 2] {
                assert_eq!(writer.write(&writing, &[byte]), Ok(1));
                activity.raise(&writing.own, 0);
                if waker.must_ring(&writing.own, &writing.other) {
                    ringing.ring();
                }
            }
        });
        let (mut reader, sleeper) = (RingReader::new(ring(2)), Sleeper::new(SLEEP));
        let mut watch = ActivityWatch::new(ACTIVITY, 1);
        let mut all: Vec<u8> = Vec::new();
        while all.len() < 2 {
            if watch.take_changed(&reading.other, 0) {
                let mut bytes = [0; 2];
                let count = reader.read(&reading, &mut bytes).expect("an honest writer");
                all.extend(&bytes[..count]);
                continue;
            }
            sleeper.announce(&reading.own);
            if !watch.any_changed(&reading.other) {
                bell.wait();
            }
            sleeper.awake(&reading.own);
        }
        assert_eq!(all, [1, 2]);
        thread.join().expect("the writer is done");
    });
}

/// A neighbour whose positions jump about while we read: every result is a refusal or within the ring.
#[test]
fn a_hostile_writer_gets_refusals_only() {
    loom::model(|| {
        let (writing, reading) = sides(true);
        let thread = thread::spawn(move || {
            for position in [1, 9, 0, u64::MAX] {
                writing.own.store(WRITE, position, Ordering::Release);
            }
        });
        let mut reader = RingReader::new(ring(2));
        for _ in 0..2 {
            let mut bytes = [0; 4];
            match reader.read(&reading, &mut bytes) {
                Ok(count) => assert!(count <= 1, "only position 1 is possible, and only once"),
                Err(fault) => assert_eq!(fault, Fault::Position),
            }
        }
        assert!(reader.position() <= 1);
        thread.join().expect("the writer is done");
    });
}
