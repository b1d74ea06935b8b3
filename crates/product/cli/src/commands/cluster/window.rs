//! What was read and is not yet known to count.

use pipe_protocol::{OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX};
use std::collections::VecDeque;
use thiserror::Error;

/// Messages that are held at most; half of what a node takes from one connection. While there are so many, no input is read.
const MESSAGES_MAX: usize = OUTSTANDING_MAX / 2;
/// Bytes of those, beside the last one.
const BYTES_MAX: usize = OUTSTANDING_BYTES_MAX / 2;

/// What the node says of a session cannot be, for somebody who uses it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum WindowError {
    /// Messages counted, and now the session is new.
    #[error("the cluster has forgotten the session: {counted} messages counted, and it expects number {next}")]
    Forgotten {
        /// Messages that counted.
        counted: u64,
        /// The number that the cluster expects.
        next: u64,
    },
    /// Messages counted that were never sent.
    #[error("another program uses the session: number {number} counted and was not sent from here")]
    Shared {
        /// The first of those.
        number: u64,
    },
}

/// The messages of a session between those that count and those that are not read yet. Numbers rise by one, so when one
/// counts, all before it do.
#[derive(Debug)]
pub(super) struct Window {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Number of the first message, held or to come.
    first: u64,
    /// How many of the messages were sent over the present connection.
    sent: usize,
    /// No higher number was ever sent from here.
    highest_sent: u64,
    /// So many messages of the input counted already in earlier runs.
    to_skip: u64,
    /// Whether earlier runs may have sent something.
    had_runs: bool,
}

impl Window {
    /// For a session that is new, or (`had_runs`) one whose earlier runs read the same input.
    pub(super) fn new(had_runs: bool) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, first: 1, sent: 0, highest_sent: 0, to_skip: 0, had_runs }
    }

    /// Messages that count, of this run and earlier ones.
    pub(super) fn counted(&self) -> u64 {
        self.first - 1
    }

    /// Messages that are held.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether another message may be added.
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < MESSAGES_MAX && self.bytes < BYTES_MAX
    }

    /// The input's next message; `false` if it counted in an earlier run.
    pub(super) fn push(&mut self, data: Vec<u8>) -> bool {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return false;
        }
        self.bytes += data.len();
        self.messages.push_back(data);
        true
    }

    /// The next message to send, with its number.
    pub(super) fn next_to_send(&mut self) -> Option<(u64, &[u8])> {
        let data = self.messages.get(self.sent)?;
        let number = self.first + self.sent as u64;
        self.sent += 1;
        self.highest_sent = self.highest_sent.max(number);
        Some((number, data))
    }

    /// Message `number` counts, and so do all before it. One that counted before changes nothing.
    pub(super) fn acknowledge(&mut self, number: u64) -> Result<(), WindowError> {
        if number > self.highest_sent {
            return Err(WindowError::Shared { number });
        }
        while self.first <= number {
            self.drop_first();
        }
        Ok(())
    }

    fn drop_first(&mut self) {
        if let Some(data) = self.messages.pop_front() {
            self.bytes -= data.len();
            self.sent = self.sent.saturating_sub(1);
        }
        self.first += 1;
    }

    /// A new connection, at whose greeting the cluster expects number `next`.
    pub(super) fn resume(&mut self, next: u64) -> Result<(), WindowError> {
        if next < self.first {
            return Err(WindowError::Forgotten { counted: self.counted(), next });
        }
        if next > self.highest_sent + 1 && !self.had_runs {
            return Err(WindowError::Shared { number: self.highest_sent + 1 });
        }
        let held = self.messages.len() as u64;
        let known = next.min(self.first + held);
        while self.first < known {
            self.drop_first();
        }
        // What an earlier run sent and this one has not read yet.
        self.to_skip += next - known;
        self.first = next;
        self.highest_sent = self.highest_sent.max(next - 1);
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(window: &mut Window) -> Vec<u64> {
        std::iter::from_fn(|| window.next_to_send().map(|(number, _)| number)).collect()
    }

    fn begun(messages: u64) -> Window {
        let mut window = Window::new(false);
        window.resume(1).expect("a new session");
        (0..messages).for_each(|_| assert!(window.push(vec![7; 10])));
        window
    }

    #[test]
    fn what_counted_is_not_sent_again_and_the_rest_is() {
        let mut window = begun(5);
        assert_eq!(sent(&mut window), [1, 2, 3, 4, 5]);
        window.acknowledge(2).expect("it was sent");
        window.acknowledge(1).expect("told twice");
        assert_eq!((window.counted(), window.len(), window.bytes), (2, 3, 30));
        // Number 3 counted, but its answer was lost.
        window.resume(4).expect("it was sent");
        assert_eq!((window.counted(), sent(&mut window)), (3, vec![4, 5]));
        window.acknowledge(5).expect("it was sent");
        assert!(window.is_empty() && window.bytes == 0);
    }

    #[test]
    fn a_session_that_was_forgotten_or_is_used_by_others_is_an_error() {
        let mut window = begun(3);
        sent(&mut window);
        window.acknowledge(3).expect("it was sent");
        assert_eq!(window.resume(1), Err(WindowError::Forgotten { counted: 3, next: 1 }));
        assert_eq!(window.resume(9), Err(WindowError::Shared { number: 4 }));
        assert_eq!(window.acknowledge(4), Err(WindowError::Shared { number: 4 }));
    }

    #[test]
    fn lines_of_an_earlier_run_are_skipped_also_when_they_count_late() {
        let mut window = Window::new(true);
        window.resume(3).expect("an earlier run sent two");
        assert!(!window.push(vec![1]) && !window.push(vec![2]) && window.push(vec![3]));
        assert_eq!(sent(&mut window), [3]);
        // Numbers 3 to 5 were on their way when the earlier run ended.
        window.resume(6).expect("an earlier run sent them");
        assert!(!window.push(vec![4]) && !window.push(vec![5]) && window.push(vec![6]));
        assert_eq!(sent(&mut window), [6]);
    }

    #[test]
    fn the_window_is_bounded_in_messages_and_bytes() {
        assert!(begun(MESSAGES_MAX as u64 - 1).has_room());
        assert!(!begun(MESSAGES_MAX as u64).has_room());
        let mut window = begun(0);
        window.push(vec![0; BYTES_MAX]);
        assert!(!window.has_room());
    }
}
