//! Lines of an input, read by a thread of their own because reading may wait for ever.

use pipe_protocol::DATA_BYTES_MAX;
use std::io::{self, ErrorKind, Read};
use tokio::sync::mpsc;

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// Reads whose lines wait to be taken. While there are so many, nothing more is read, and whoever writes waits.
const BATCHES_MAX: usize = 2;

/// What an input holds.
#[derive(Debug)]
pub(super) enum Piece {
    /// A line without its end.
    Line(Vec<u8>),
    /// In its place stood one of more than [`DATA_BYTES_MAX`] bytes.
    TooLong {
        /// Which line, from 1.
        line: u64,
    },
    /// Nothing more can be read.
    Failed(io::Error),
}

/// What the end of the input means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// There is nothing more.
    Stop,
    /// A writer is gone; another may come.
    GoOn,
}

/// Reads until the end, an error, or until nobody wants the lines any more.
pub(super) fn read(input: impl Read + Send + 'static, at_end: AtEnd) -> mpsc::Receiver<Vec<Piece>> {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    // It ends with the process if it waits in a read.
    std::thread::spawn(move || hand_over(input, at_end, &sender));
    receiver
}

fn hand_over(mut input: impl Read, at_end: AtEnd, sender: &mpsc::Sender<Vec<Piece>>) {
    let mut cutter = Cutter::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let mut pieces = Vec::new();
        let is_last = match input.read(&mut buffer) {
            Ok(0) => {
                cutter.finish(&mut pieces);
                at_end == AtEnd::Stop
            }
            Ok(count) => {
                cutter.push(&buffer[..count], &mut pieces);
                false
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => false,
            Err(error) => {
                pieces.push(Piece::Failed(error));
                true
            }
        };
        if (!pieces.is_empty() && sender.blocking_send(pieces).is_err()) || is_last {
            return;
        }
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Cutter {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    is_too_long: bool,
    lines: u64,
}

impl Cutter {
    fn push(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        // What is behind the last line end, or everything if there is none.
        let rest = parts.next_back().unwrap_or_default();
        for part in parts {
            self.extend(part);
            pieces.push(self.end_line());
        }
        self.extend(rest);
    }

    fn extend(&mut self, part: &[u8]) {
        if self.is_too_long || self.begun.len() + part.len() > DATA_BYTES_MAX {
            self.is_too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) -> Piece {
        self.lines += 1;
        let line = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.is_too_long) { Piece::TooLong { line: self.lines } } else { Piece::Line(line) }
    }

    /// The last line may lack its end.
    fn finish(&mut self, pieces: &mut Vec<Piece>) {
        if self.is_too_long || !self.begun.is_empty() {
            pieces.push(self.end_line());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(input: &[u8], size: usize) -> Vec<Result<Vec<u8>, u64>> {
        let (mut cutter, mut pieces) = (Cutter::default(), Vec::new());
        input.chunks(size).for_each(|chunk| cutter.push(chunk, &mut pieces));
        cutter.finish(&mut pieces);
        let read = |piece| match piece {
            Piece::Line(line) => Ok(line),
            Piece::TooLong { line } => Err(line),
            Piece::Failed(error) => panic!("{error}"),
        };
        pieces.into_iter().map(read).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        for size in 1..9 {
            let expected = [b"one".to_vec(), Vec::new(), b"two\r".to_vec(), b"\xff".to_vec()].map(Ok);
            assert_eq!(cut(b"one\n\ntwo\r\n\xff", size), expected);
            assert_eq!(cut(b"one\n", size), [Ok(b"one".to_vec())]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_no_memory_and_no_other_line() {
        let mut input = vec![b'x'; DATA_BYTES_MAX];
        input.extend_from_slice(b"\nshort\n");
        assert_eq!(cut(&input, 4096)[1], Ok(b"short".to_vec()));
        input.insert(0, b'x');
        assert_eq!(cut(&input, 4096), [Err(1), Ok(b"short".to_vec())]);
        let mut cutter = Cutter::default();
        (0..100).for_each(|_| cutter.push(&[b'x'; 50_000], &mut Vec::new()));
        assert_eq!(cutter.begun.capacity(), 0);
    }

    #[test]
    fn reading_stops_while_nobody_takes_the_lines() {
        struct Endless(std::sync::Arc<std::sync::atomic::AtomicUsize>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                buffer.fill(b'\n');
                Ok(buffer.len())
            }
        }
        let reads = std::sync::Arc::default();
        let mut lines = read(Endless(std::sync::Arc::clone(&reads)), AtEnd::Stop);
        assert!(lines.blocking_recv().is_some());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let done = reads.load(std::sync::atomic::Ordering::Relaxed);
        assert!(done <= BATCHES_MAX + 2, "{done} reads");
    }
}
