//! Two real processes with a ring each way: much data, and a death in the middle of it.
//!
//! The test starts its own binary again for the second process and hands it descriptors by inheritance.

use shm_ring::{
    Bell, BellEnds, Capacity, OtherSegment, OwnSegment, RingLayout, RingReader, RingWriter, Ringer, Segment, Sleeper,
    View, Waker,
};
use std::error::Error;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

const RING_BYTES: usize = 64 * 1024;
const LEN: usize = 4096 + RING_BYTES;
const SLEEP_AT: usize = 512;
const TOTAL_BYTES: u64 = 80 << 20;
/// Far longer than a lost wake-up would be noticed in another way, on the busiest machine.
const SILENCE: Duration = Duration::from_secs(60);
const DESCRIPTORS: &str = "SHM_RING_TEST_DESCRIPTORS";
const TASK: &str = "SHM_RING_TEST_TASK";

/// One side: a ring to write, a ring to read, a bell to hear and one to ring.
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
    fn new(own: BorrowedFd<'_>, other: BorrowedFd<'_>, bell: OwnedFd, ringer: OwnedFd) -> TestResult<Self> {
        let capacity = Capacity::new(RING_BYTES as u64)?;
        let layout = RingLayout { capacity, bytes_at: 4096, write_at: 0, read_at: 128 };
        Ok(Self {
            view: View { own: OwnSegment::map(own, LEN)?, other: OtherSegment::map(other, LEN)? },
            writer: RingWriter::new(layout),
            reader: RingReader::new(layout),
            sleeper: Sleeper::new(SLEEP_AT),
            waker: Waker::new(SLEEP_AT),
            bell: Bell::new(bell),
            ringer: Ringer::new(ringer),
        })
    }

    fn ring(&mut self) {
        if self.waker.must_ring(&self.view.own, &self.view.other) {
            self.ringer.ring();
        }
    }

    /// Sleeps unless `has_news` after the announcement. `false`: nothing rang in time.
    fn sleep(&mut self, has_news: impl Fn(&mut Self) -> TestResult<bool>) -> TestResult<bool> {
        self.sleeper.announce(&self.view.own);
        let woken = has_news(self)? || self.bell.wait(Some(SILENCE))?;
        self.sleeper.awake(&self.view.own);
        Ok(woken)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> TestResult {
        while !bytes.is_empty() {
            let written = self.writer.write(&self.view, bytes)?;
            bytes = &bytes[written..];
            self.ring();
            if !bytes.is_empty() && !self.sleep(|end| Ok(end.writer.room(&end.view)? > 0))? {
                return Err("no room for a minute".into());
            }
        }
        Ok(())
    }

    /// 0 when nothing came for [`SILENCE`].
    fn read(&mut self, into: &mut [u8]) -> TestResult<usize> {
        loop {
            let count = self.reader.read(&self.view, into)?;
            if count > 0 {
                self.ring();
                return Ok(count);
            }
            if !self.sleep(|end| Ok(end.reader.unread(&end.view)? > 0))? {
                return Ok(0);
            }
        }
    }
}

/// A stream of bytes that both processes can make.
struct Stream {
    state: u64,
    at: u64,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Self { state: seed | 1, at: 0 }
    }

    fn next(&mut self) -> u8 {
        if self.at.is_multiple_of(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
        }
        let byte = self.state.to_le_bytes()[(self.at % 8) as usize];
        self.at += 1;
        byte
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next());
    }

    fn check(&mut self, bytes: &[u8]) -> TestResult {
        let start = self.at;
        match bytes.iter().position(|byte| *byte != self.next()) {
            Some(offset) => Err(format!("wrong byte at {}", start + offset as u64).into()),
            None => Ok(()),
        }
    }
}

/// Sizes that are no divisors of the ring.
fn chunk(number: u64) -> usize {
    [1, 64, 4096, 13, 65536, 1500, 30_011][(number % 7) as usize]
}

/// Starts the second process, which runs `second_process` below, and returns the first one's end.
fn start(task: &str) -> TestResult<(Child, End)> {
    let (a, b) = (Segment::create("first", LEN)?, Segment::create("second", LEN)?);
    let (first, second) = (BellEnds::create()?, BellEnds::create()?);
    let inherited = [b.writable(), a.read_only(), second.sleeper.as_fd(), first.ringer.as_fd()];
    let mut numbers = Vec::new();
    for fd in inherited {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        numbers.push(fd.as_raw_fd().to_string());
    }
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "second_process", "--ignored", "--nocapture"])
        .env(DESCRIPTORS, numbers.join(","))
        .env(TASK, task)
        .spawn()?;
    let end = End::new(a.writable(), b.read_only(), first.sleeper, second.ringer)?;
    Ok((child, end))
}

/// Not a test of its own: the body of the second process.
#[test]
#[ignore = "started by the other tests of this file"]
fn second_process() -> TestResult {
    let Ok(numbers) = std::env::var(DESCRIPTORS) else { return Ok(()) };
    let numbers: Vec<i32> = numbers.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let take = |index: usize| -> OwnedFd {
        // SAFETY: the first process left exactly these descriptors open for us, and each is taken once.
        unsafe { OwnedFd::from_raw_fd(numbers[index]) }
    };
    let mut end = End::new(take(0).as_fd(), take(1).as_fd(), take(2), take(3))?;
    match std::env::var(TASK)?.as_str() {
        "send" => send(&mut end, TOTAL_BYTES),
        "send for ever" => send(&mut end, u64::MAX),
        "echo" => echo(&mut end),
        task => Err(format!("unknown task {task}").into()),
    }
}

fn send(end: &mut End, total: u64) -> TestResult {
    let mut stream = Stream::new(1);
    let mut bytes = vec![0; RING_BYTES];
    for number in 0.. {
        let count = chunk(number).min((total - stream.at).try_into().unwrap_or(usize::MAX));
        if count == 0 {
            break;
        }
        stream.fill(&mut bytes[..count]);
        end.write_all(&bytes[..count])?;
    }
    Ok(())
}

fn echo(end: &mut End) -> TestResult {
    let mut bytes = vec![0; 4096];
    loop {
        let count = end.read(&mut bytes)?;
        if bytes[..count].contains(&b'.') || count == 0 {
            return Ok(());
        }
        end.write_all(&bytes[..count])?;
    }
}

#[test]
fn eighty_megabytes_cross_unchanged() -> TestResult {
    let (mut child, mut end) = start("send")?;
    let mut stream = Stream::new(1);
    let mut bytes = vec![0; RING_BYTES];
    let mut number = 3;
    while stream.at < TOTAL_BYTES {
        number += 1;
        let count = end.read(&mut bytes[..chunk(number)])?;
        if count == 0 {
            return Err(format!("silence after {} bytes", stream.at).into());
        }
        stream.check(&bytes[..count])?;
    }
    assert_eq!(stream.at, TOTAL_BYTES);
    assert!(child.wait()?.success());
    assert_eq!(end.reader.unread(&end.view)?, 0);
    Ok(())
}

#[test]
fn each_of_many_short_sleeps_is_ended_by_the_bell() -> TestResult {
    let (mut child, mut end) = start("echo")?;
    let mut bytes = [0; 16];
    for number in 0..20_000u32 {
        let message = (number | 0x8080_8080).to_le_bytes();
        end.write_all(&message)?;
        let started = Instant::now();
        let mut count = 0;
        while count < 4 {
            let more = end.read(&mut bytes[count..])?;
            assert!(more > 0, "a wake-up was lost in round {number}");
            count += more;
        }
        assert_eq!(bytes[..4], message);
        assert!(started.elapsed() < SILENCE, "only the time-out ended the sleep of round {number}");
    }
    end.write_all(b".")?;
    assert!(child.wait()?.success());
    Ok(())
}

#[test]
fn a_killed_writer_leaves_a_correct_prefix_and_silence() -> TestResult {
    let (mut child, mut end) = start("send for ever")?;
    let mut stream = Stream::new(1);
    let mut bytes = vec![0; RING_BYTES];
    while stream.at < 8 << 20 {
        let count = end.read(&mut bytes)?;
        assert!(count > 0, "silence before the kill");
        stream.check(&bytes[..count])?;
    }
    child.kill()?;
    child.wait()?;
    let mut after_death = 0;
    loop {
        let count = end.reader.read(&end.view, &mut bytes)?;
        if count == 0 {
            break;
        }
        after_death += count;
        stream.check(&bytes[..count])?;
    }
    assert!(after_death <= RING_BYTES);
    // The dead one left at most one ring; after that the bell is silent, not hung up.
    end.bell.drain();
    assert!(!end.bell.wait(Some(Duration::from_millis(20)))?);
    // Writing to and ringing the dead does no harm, and its room ends.
    let mut written = 0;
    while let count @ 1.. = end.writer.write(&end.view, &bytes)? {
        written += count;
        end.ringer.ring();
    }
    assert_eq!(written, RING_BYTES);
    Ok(())
}
