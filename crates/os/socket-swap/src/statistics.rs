//! The line of counts, written to a file when the process ends, if somebody asked for it.

use crate::{real, selection};
use std::fmt::Write;
pub(crate) use swap_link::statistics::{Count, add};

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
    for (name, count) in swap_link::statistics::counts() {
        let _ = write!(line, " {name}={count}");
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
