//! Sleeping and being woken, between two threads that share nothing but the segments.

use flow_queue::{Geometry, QueueSide, Side, local_pair};
use shaped_node::queues::FlowQueues;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

type TestResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than any test takes; a sleep that ends only by it was not ended by the bell.
const FAR: Duration = Duration::from_secs(60);

fn pair(max_flows: u16) -> TestResult<(QueueSide, QueueSide)> {
    Ok(local_pair(&Geometry::new(max_flows, 4096, 1)?, Side::Unshaped)?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// How a side waits for news.
#[derive(Clone, Copy)]
enum Wait {
    Park,
    SpinThenPark,
}

fn wait(side: &QueueSide, how: Wait) -> TestResult {
    let started = Instant::now();
    if matches!(how, Wait::SpinThenPark) && side.spin(100) {
        return Ok(());
    }
    side.park(Some(FAR))?;
    if started.elapsed() >= FAR { Err("a wake-up was lost".into()) } else { Ok(()) }
}

/// The byte at `position` of the stream of flow `index`.
fn byte(index: u16, position: u64) -> u8 {
    (position.wrapping_mul(31).wrapping_add(u64::from(index) * 7) >> 2) as u8
}

/// Sends `total` bytes on every flow and receives as many, in pieces of changing size.
fn exchange(side: &mut QueueSide, total: u64, how: Wait) -> TestResult {
    let flows = side.queue_count();
    loop {
        let mut moved = false;
        for index in 0..flows {
            moved |= send_some(side, index, total)? | receive_some(side, index)?;
        }
        side.flush();
        while side.poll_active().is_some() {}
        let is_done = |index: u16| side.write_position(index) == total && side.read_position(index) == total;
        if (0..flows).all(is_done) {
            return Ok(());
        }
        if !moved {
            wait(side, how)?;
        }
    }
}

fn send_some(side: &mut QueueSide, index: u16, total: u64) -> TestResult<bool> {
    let position = side.write_position(index);
    let length = (1 + position % 1789).min(total - position);
    let bytes: Vec<u8> = (position..position + length).map(|position| byte(index, position)).collect();
    Ok(side.write(index, &bytes)? > 0)
}

fn receive_some(side: &mut QueueSide, index: u16) -> TestResult<bool> {
    let position = side.read_position(index);
    let bytes = side.read(index, 1 + (position % 2099) as usize)?;
    match (position..).zip(&bytes).find(|(position, found)| byte(index, *position) != **found) {
        Some((position, _)) => Err(format!("wrong byte at {position} of flow {index}").into()),
        None => Ok(!bytes.is_empty()),
    }
}

fn both_ways(flows: u16, total: u64, how: Wait) -> TestResult {
    let (mut unshaped, mut shaped) = pair(flows)?;
    let other = thread::spawn(move || exchange(&mut shaped, total, how));
    exchange(&mut unshaped, total, how)?;
    other.join().map_err(|_| "the other side panicked")?
}

#[test]
fn parked_sides_exchange_everything() -> TestResult {
    both_ways(3, 1 << 20, Wait::Park)?;
    both_ways(100, 40_000, Wait::Park)
}

#[test]
fn spinning_sides_exchange_everything() -> TestResult {
    both_ways(3, 1 << 20, Wait::SpinThenPark)
}

#[test]
fn every_await_is_ended_by_the_other_side() -> TestResult {
    let (mut unshaped, mut shaped) = pair(1)?;
    let echo = thread::spawn(move || -> TestResult {
        runtime()?.block_on(async {
            for _ in 0..5000 {
                while shaped.readable(0)? == 0 {
                    while shaped.poll_active().is_some() {}
                    tokio::time::timeout(FAR, shaped.wait_async()).await??;
                }
                let bytes = shaped.read(0, 10)?;
                shaped.write(0, &bytes)?;
                shaped.flush();
            }
            Ok(())
        })
    });
    runtime()?.block_on(async {
        for number in 0..5000u32 {
            unshaped.write(0, &number.to_le_bytes())?;
            unshaped.flush();
            while unshaped.readable(0)? < 4 {
                while unshaped.poll_active().is_some() {}
                tokio::time::timeout(FAR, unshaped.wait_async()).await??;
            }
            assert_eq!(unshaped.read(0, 10)?[..], number.to_le_bytes());
        }
        TestResult::Ok(())
    })?;
    echo.join().map_err(|_| "the echo panicked")?
}

/// Whether the side's bell is ringing.
fn is_ringing(side: &QueueSide) -> TestResult<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::from_borrowed_fd(side.bell_fd(), PollFlags::IN)];
    Ok(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

#[test]
fn a_bell_rings_only_for_a_sleeper_and_once_a_sleep() -> TestResult {
    let (mut unshaped, mut shaped) = pair(1)?;
    unshaped.write(0, b"a")?;
    unshaped.flush();
    assert!(!is_ringing(&shaped)?, "it is awake");
    assert!(!shaped.prepare_sleep(), "there are news");
    assert_eq!(shaped.poll_active(), Some(0));
    assert_eq!(shaped.poll_active(), None);

    assert!(shaped.prepare_sleep());
    unshaped.flush();
    assert!(!is_ringing(&shaped)?, "nothing new");
    unshaped.write(0, b"b")?;
    assert!(!is_ringing(&shaped)?, "not before the flush");
    unshaped.flush();
    assert!(is_ringing(&shaped)?);
    shaped.awake();
    assert!(!is_ringing(&shaped)?);
    assert_eq!(shaped.poll_active(), Some(0));
    assert_eq!(shaped.poll_active(), None);

    // A sleep that the sleeper ends by itself leaves no bell to ring.
    assert!(shaped.prepare_sleep());
    shaped.awake();
    unshaped.write(0, b"c")?;
    unshaped.flush();
    assert!(!is_ringing(&shaped)?);

    // Messages and room wake like data.
    assert!(unshaped.prepare_sleep());
    shaped.read(0, 3)?;
    shaped.flush();
    assert!(is_ringing(&unshaped)?);
    Ok(())
}

#[test]
fn a_cancelled_wait_leaves_the_side_awake() -> TestResult {
    let (mut unshaped, shaped) = pair(1)?;
    runtime()?.block_on(async {
        assert!(tokio::time::timeout(Duration::ZERO, shaped.wait_async()).await.is_err());
        unshaped.write(0, b"x")?;
        unshaped.flush();
        assert!(!is_ringing(&shaped)?);
        tokio::time::timeout(FAR, shaped.wait_async()).await??;
        TestResult::Ok(())
    })
}
