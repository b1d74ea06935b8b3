//! The doorbell: a pipe that one side sleeps on and the other writes a byte to.
//!
//! Why a pipe and not an eventfd: an eventfd has one file description in both processes, and so one
//! `O_NONBLOCK` flag. A hostile neighbour could clear it, fill the counter, and leave us blocked for ever in
//! the next ring. Here each side has a description of its own. Both are opened for reading *and* writing, so
//! that the death of the other side shows neither as an endless hang-up to poll nor as a SIGPIPE.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

#[cfg(not(loom))]
mod asynchronous;

/// Bytes that one `read` takes out of a bell. An honest neighbour leaves at most a few.
const DRAIN_BYTES: usize = 256;

/// Reads per [`Bell::drain`]: enough for a pipe that the neighbour filled (64 KiB). What is left after that
/// costs one more wake-up, nothing else.
const DRAIN_READS_MAX: usize = 65536 / DRAIN_BYTES + 1;

/// A new doorbell, in the hands of the one who makes it for two others.
#[derive(Debug)]
pub struct BellEnds {
    /// For the side that sleeps: [`Bell::new`].
    pub sleeper: OwnedFd,
    /// For the side that rings: [`Ringer::new`].
    pub ringer: OwnedFd,
}

impl BellEnds {
    /// Makes a doorbell. Needs `/proc`.
    pub fn create() -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (pipe, _write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let end = || reopen(&pipe, OFlags::RDWR | OFlags::NONBLOCK);
        Ok(Self { sleeper: end()?, ringer: end()? })
    }
}

/// The end to sleep on.
#[derive(Debug)]
pub struct Bell {
    #[cfg(not(loom))]
    registered: asynchronous::Registration,
    #[cfg(loom)]
    registered: std::sync::Arc<OwnedFd>,
}

impl Bell {
    /// Takes the sleeper's descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        Self { registered: std::sync::Arc::new(fd).into() }
    }

    /// Readable when the bell was rung and not yet drained. For other event loops.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.registered.as_fd()
    }

    /// Blocks until the bell rings or `timeout` passes; `None` waits for ever. Returns whether it rang. A
    /// signal may end the wait early.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => {
                self.drain();
                Ok(true)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Silences the bell. Comes before the look for news, so that a later ring is heard.
    pub fn drain(&self) {
        let mut bytes = [0; DRAIN_BYTES];
        for _ in 0..DRAIN_READS_MAX {
            match rustix::io::read(self.fd(), &mut bytes) {
                Ok(count) if count == bytes.len() => {}
                _ => return,
            }
        }
    }
}

/// The end to ring.
#[derive(Debug)]
pub struct Ringer {
    fd: OwnedFd,
}

impl Ringer {
    /// Takes the ringer's descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Rings. Never blocks; a bell that is already ringing to the brim stays so.
    pub fn ring(&self) {
        // The only failures are a full pipe, where a ring is already waiting, and a dead neighbour.
        let _ = rustix::io::write(&self.fd, &[1]);
    }
}

/// Opens the file behind `fd` once more, with a file description and access mode of its own.
pub(crate) fn reopen(fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}
