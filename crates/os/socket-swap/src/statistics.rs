//! Counts of what was swapped, written as one line to a file when the process ends, if somebody asked for it.

use crate::{real, selection};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Connections that could have been swapped.
    Connections,
    /// Connections with a ring each way.
    Linked,
    /// Calls that sent through a ring.
    RingSends,
    /// Calls that received through a ring.
    RingReceives,
    /// Turns from ring to socket because the ring was full or the call needed the socket.
    Spills,
    /// Doorbells sent.
    Bells,
    /// Connections that went back to their sockets for good.
    Plain,
}

const NAMES: [&str; 7] = ["connections", "linked", "ring_sends", "ring_receives", "spills", "bells", "plain"];
static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Adds one, if somebody wants to know: a locked instruction costs a small message as much as all else.
#[inline]
pub(crate) fn add(count: Count) {
    if selection::counts() {
        COUNTS[count as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A line that never needs an allocator.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.len() - self.length;
        let added = text.len().min(room);
        self.bytes[self.length..self.length + added].copy_from_slice(&text.as_bytes()[..added]);
        self.length += added;
        Ok(())
    }
}

extern "C" fn report() {
    let Some(path) = selection::statistics_path() else { return };
    let mut line = Line { bytes: [0; 256], length: 0 };
    // SAFETY: asks for a number.
    let process = unsafe { libc::getpid() };
    let _ = write!(line, "pid={process}");
    for (name, count) in NAMES.iter().zip(&COUNTS) {
        let _ = write!(line, " {name}={}", count.load(Ordering::Relaxed));
    }
    let _ = line.write_str("\n");
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: a terminated path and plain numbers.
    let fd = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
    if fd >= 0 {
        // SAFETY: the line is valid for its length, and the descriptor is ours.
        unsafe {
            real::write(fd, line.bytes.as_ptr().cast(), line.length);
            real::close(fd);
        }
    }
}

#[used]
// SAFETY: the section holds pointers to functions of this type, which the loader calls once.
#[unsafe(link_section = ".fini_array")]
static REPORT: extern "C" fn() = report;
