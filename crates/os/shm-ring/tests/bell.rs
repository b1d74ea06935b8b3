//! Doorbells under tokio, and with a neighbour that rings too much or touches the flags.

use rustix::fs::OFlags;
use shm_ring::{Bell, BellEnds, Ringer};
use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

type TestResult = Result<(), Box<dyn Error>>;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[test]
fn a_ring_is_heard_once() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    let (bell, ringer) = (Bell::new(sleeper), Ringer::new(ringer));
    assert!(!bell.wait(Some(Duration::ZERO))?);
    ringer.ring();
    assert!(bell.wait(None)?);
    assert!(!bell.wait(Some(Duration::ZERO))?);
    Ok(())
}

#[test]
fn every_ring_resolves_an_await() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    let (bell, ringer) = (Arc::new(Bell::new(sleeper)), Ringer::new(ringer));
    let (heard, wait_heard) = std::sync::mpsc::channel();
    let sleeping = std::thread::spawn(move || -> std::io::Result<()> {
        runtime()?.block_on(async {
            for _ in 0..1000 {
                bell.rung().await?;
                if heard.send(()).is_err() {
                    break;
                }
            }
            Ok(())
        })
    });
    for _ in 0..1000 {
        ringer.ring();
        wait_heard.recv_timeout(Duration::from_secs(60))?;
    }
    sleeping.join().map_err(|_| "the sleeper panicked")??;
    Ok(())
}

#[test]
fn a_cancelled_await_loses_no_ring() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    let (bell, ringer) = (Bell::new(sleeper), Ringer::new(ringer));
    runtime()?.block_on(async {
        for _ in 0..100 {
            let cancelled = tokio::time::timeout(Duration::ZERO, bell.rung()).await;
            assert!(cancelled.is_err(), "nobody rang");
            ringer.ring();
            tokio::time::timeout(Duration::from_secs(60), bell.rung()).await??;
        }
        Ok(())
    })
}

#[test]
fn a_bell_rung_to_the_brim_neither_blocks_nor_deafens() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    // The hostile side makes its own end blocking; ours must not notice.
    let hostile = ringer.try_clone()?;
    rustix::fs::fcntl_setfl(&sleeper, rustix::fs::fcntl_getfl(&sleeper)? | OFlags::NONBLOCK)?;
    let (bell, ringer) = (Bell::new(sleeper), Ringer::new(ringer));
    while rustix::io::write(&hostile, &[0; 4096]).is_ok() {}
    ringer.ring();
    assert!(bell.wait(Some(Duration::ZERO))?);
    assert!(!bell.wait(Some(Duration::ZERO))?, "all of it was drained");
    rustix::fs::fcntl_setfl(&hostile, rustix::fs::fcntl_getfl(&hostile)? - OFlags::NONBLOCK)?;
    assert!(rustix::fs::fcntl_getfl(bell.fd())?.contains(OFlags::NONBLOCK), "our description is our own");
    bell.drain();
    Ok(())
}

#[test]
fn a_dead_neighbour_is_silence() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    drop(ringer);
    let bell = Bell::new(sleeper);
    assert!(!bell.wait(Some(Duration::from_millis(5)))?);

    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    drop(sleeper);
    let ringer = Ringer::new(ringer);
    ringer.ring();
    Ok(())
}

#[test]
fn the_ends_do_not_leak_into_programs_that_are_started() -> TestResult {
    let BellEnds { sleeper, ringer } = BellEnds::create()?;
    for fd in [sleeper.as_fd(), ringer.as_fd()] {
        assert!(rustix::io::fcntl_getfd(fd)?.contains(rustix::io::FdFlags::CLOEXEC));
    }
    Ok(())
}
