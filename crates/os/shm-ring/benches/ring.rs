//! The ring across two threads, beside `rtrb` (same memory, no other process) and a pipe.
//!
//! `stream`: one way, messages of one size through 256 KiB. `round_trip`: 64 bytes there and back, by spinning
//! and by sleeping on the doorbell.

#![allow(missing_docs, reason = "criterion's macros make public items without documentation")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shm_ring::{
    Bell, BellEnds, Capacity, OtherSegment, OwnSegment, RingLayout, RingReader, RingWriter, Ringer, Segment, Sleeper,
    View, Waker,
};
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

const RING_BYTES: usize = 256 * 1024;
const LEN: usize = 4096 + RING_BYTES;
const SLEEP_AT: usize = 512;
/// Looks before a thread sleeps, about 20 us.
const SPINS: u32 = 2000;

/// Spins, and yields the processor now and then: other programs may want the one that the other thread needs.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn next(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(1024) { thread::yield_now() } else { spin_loop() }
    }
}

struct End {
    view: View<OwnSegment, OtherSegment>,
    writer: RingWriter,
    reader: RingReader,
    sleeper: Sleeper,
    waker: Waker,
    bell: Bell,
    ringer: Ringer,
}

impl End {
    fn pair() -> (Self, Self) {
        let segment = || Segment::create("bench", LEN).expect("260 KiB");
        let (a, b) = (segment(), segment());
        let bells = || BellEnds::create().expect("two descriptors");
        let (first, second) = (bells(), bells());
        let end = |own: &Segment, other: &Segment, sleeper, ringer| {
            let capacity = Capacity::new(RING_BYTES as u64).expect("a power of two");
            let layout = RingLayout { capacity, bytes_at: 4096, write_at: 0, read_at: 128 };
            Self {
                view: View {
                    own: OwnSegment::map(own.writable(), LEN).expect("fresh"),
                    other: OtherSegment::map(other.read_only(), LEN).expect("fresh"),
                },
                writer: RingWriter::new(layout),
                reader: RingReader::new(layout),
                sleeper: Sleeper::new(SLEEP_AT),
                waker: Waker::new(SLEEP_AT),
                bell: Bell::new(sleeper),
                ringer: Ringer::new(ringer),
            }
        };
        (end(&a, &b, first.sleeper, second.ringer), end(&b, &a, second.sleeper, first.ringer))
    }

    fn write_spinning(&mut self, message: &[u8]) {
        let (mut rest, mut pause) = (message, Pause::default());
        while !rest.is_empty() {
            match self.writer.write(&self.view, rest).expect("honest") {
                0 => pause.next(),
                count => rest = &rest[count..],
            }
        }
    }

    fn read_spinning(&mut self, into: &mut [u8]) {
        let (mut done, mut pause) = (0, Pause::default());
        while done < into.len() {
            match self.reader.read(&self.view, &mut into[done..]).expect("honest") {
                0 => pause.next(),
                count => done += count,
            }
        }
    }

    fn ring(&mut self) {
        if self.waker.must_ring(&self.view.own, &self.view.other) {
            self.ringer.ring();
        }
    }

    /// Waits for something to read: `spins` looks, then asleep.
    fn wait(&mut self, spins: u32) {
        let mut pause = Pause::default();
        for _ in 0..spins {
            if self.reader.unread(&self.view).expect("honest") > 0 {
                return;
            }
            pause.next();
        }
        self.sleeper.announce(&self.view.own);
        if self.reader.unread(&self.view).expect("honest") == 0 {
            self.bell.wait(None).expect("an open bell");
        }
        self.sleeper.awake(&self.view.own);
    }
}

/// Keeps the thread on one processor, so that the two sides never share one.
fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    // A machine with one processor measures something else; the figures then speak for themselves.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Runs `consume` in a second thread and times `produce` until both are done.
fn timed(produce: impl FnOnce(), consume: impl FnOnce() + Send) -> Duration {
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            pin(1);
            consume();
        });
        pin(0);
        let started = Instant::now();
        produce();
        consumer.join().expect("the consumer does not panic");
        started.elapsed()
    })
}

fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    for size in [64, 1024, 4096, 65536] {
        group.throughput(Throughput::Bytes(size as u64));
        let message = vec![1u8; size];
        group.bench_function(BenchmarkId::new("shm-ring", size), |bencher| {
            bencher.iter_custom(|count| {
                let (mut a, mut b) = End::pair();
                let mut into = vec![0; size];
                timed(
                    || (0..count).for_each(|_| a.write_spinning(black_box(&message))),
                    move || (0..count).for_each(|_| b.read_spinning(black_box(&mut into))),
                )
            });
        });
        group.bench_function(BenchmarkId::new("rtrb", size), |bencher| {
            bencher.iter_custom(|count| {
                let (producer, consumer) = rtrb::RingBuffer::<u8>::new(RING_BYTES);
                rtrb_stream(producer, consumer, &message, count)
            });
        });
        group.bench_function(BenchmarkId::new("pipe", size), |bencher| {
            bencher.iter_custom(|count| {
                let (mut read_end, mut write_end) = std::io::pipe().expect("two descriptors");
                let mut into = vec![0; size];
                timed(
                    || (0..count).for_each(|_| write_end.write_all(black_box(&message)).expect("open")),
                    move || (0..count).for_each(|_| read_end.read_exact(black_box(&mut into)).expect("open")),
                )
            });
        });
    }
    group.finish();
}

fn rtrb_stream(
    mut producer: rtrb::Producer<u8>,
    mut consumer: rtrb::Consumer<u8>,
    message: &[u8],
    count: u64,
) -> Duration {
    let mut into = vec![0; message.len()];
    timed(
        || {
            for _ in 0..count {
                let (mut rest, mut pause) = (black_box(message), Pause::default());
                while !rest.is_empty() {
                    match producer.write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(_) => pause.next(),
                    }
                }
            }
        },
        move || {
            for _ in 0..count {
                let (mut done, mut pause) = (0, Pause::default());
                while done < into.len() {
                    match consumer.read(black_box(&mut into[done..])) {
                        Ok(count) => done += count,
                        Err(_) => pause.next(),
                    }
                }
            }
        },
    )
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_trip");
    for (name, spins) in [("shm-ring, spinning", u32::MAX), ("shm-ring, 20 us spin", SPINS), ("shm-ring, bell", 0)] {
        group.bench_function(name, |bencher| bencher.iter_custom(|count| ping_pong(spins, count)));
    }
    group.bench_function("pipe", |bencher| {
        bencher.iter_custom(|count| {
            let pipe = || std::io::pipe().expect("two descriptors");
            let ((mut read_there, mut write_there), (mut read_back, mut write_back)) = (pipe(), pipe());
            let mut bytes = [0; 64];
            timed(
                || {
                    for _ in 0..count {
                        write_there.write_all(&bytes).expect("open");
                        read_back.read_exact(&mut bytes).expect("open");
                    }
                },
                move || {
                    let mut bytes = [0; 64];
                    for _ in 0..count {
                        read_there.read_exact(&mut bytes).expect("open");
                        write_back.write_all(&bytes).expect("open");
                    }
                },
            )
        });
    });
    group.finish();
}

fn ping_pong(spins: u32, count: u64) -> Duration {
    let (mut a, mut b) = End::pair();
    let turn = |end: &mut End, bytes: &mut [u8; 64]| {
        end.wait(spins);
        end.read_spinning(bytes);
    };
    timed(
        || {
            let mut bytes = [0; 64];
            for _ in 0..count {
                a.write_spinning(&bytes);
                a.ring();
                turn(&mut a, &mut bytes);
            }
        },
        move || {
            let mut bytes = [0; 64];
            for _ in 0..count {
                turn(&mut b, &mut bytes);
                b.write_spinning(&bytes);
                b.ring();
            }
        },
    )
}

/// What a publish costs beside the copy: the fence and the look at the sleep counter, and a ring.
fn single_steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    let (mut a, _b) = End::pair();
    group.bench_function("must_ring, nobody asleep", |bencher| {
        bencher.iter(|| a.waker.must_ring(&a.view.own, &a.view.other));
    });
    let (a, b) = End::pair();
    group.bench_function("ring and drain", |bencher| {
        bencher.iter(|| {
            a.ringer.ring();
            b.bell.drain();
        });
    });
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("a descriptor");
    group.bench_function("the same with an eventfd", |bencher| {
        bencher.iter(|| {
            rustix::io::write(&eventfd, &1u64.to_ne_bytes()).expect("far from full");
            rustix::io::read(&eventfd, &mut [0; 8]).expect("just written");
        });
    });
    group.bench_function("write and read 64 bytes, one thread", |bencher| {
        let mut bytes = [0; 64];
        let (mut a, mut b) = End::pair();
        bencher.iter(|| {
            a.write_spinning(black_box(&bytes));
            b.read_spinning(black_box(&mut bytes));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = stream, round_trip, single_steps
}
criterion_main!(benches);
