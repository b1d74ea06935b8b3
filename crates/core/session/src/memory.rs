//! What a session holds for others: bytes that were not read, and bytes that were not acknowledged.
//!
//! quinn tells neither. What came is read from its packets as they are opened (`tap.rs`), what is kept for the other end is
//! counted where quinn lets go of it. Both are what lies in memory, not what a window says.

use std::ops::Add;

/// What is charged for each piece that is kept, beside its bytes: its owner and its place in a queue.
pub const PIECE_OVERHEAD: u64 = 128;

/// quinn copies the pieces of a stream together when what their packets keep beside them passes the larger of these: so
/// many bytes, or three halves of what is kept (`Assembler::insert` in quinn-proto 0.11).
const SLACK_MIN: u64 = 32 * 1024;

/// Bytes that a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionMemory {
    /// Came and were not read, gaps before them included: all flows, and the control stream.
    pub unread: u64,
    /// Were written and are kept until the other end has acknowledged them: of all flows, and control messages.
    pub unacknowledged: u64,
    /// Control messages, records of datagram flows and their parts that wait.
    pub waiting: u64,
    /// What keeps all of that: packets of which only a part is unread, and [`PIECE_OVERHEAD`].
    pub overhead: u64,
    /// Of all of that, what the other end sent. Nothing makes it less but readers, or the end of a flow.
    pub pushed: u64,
}

/// What is to become less when a flow is shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Burden {
    /// [`SessionMemory::pushed`].
    Pushed,
    /// All.
    All,
}

impl SessionMemory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.unread + self.unacknowledged + self.waiting + self.overhead
    }
}

impl Add for SessionMemory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            unread: self.unread + other.unread,
            unacknowledged: self.unacknowledged + other.unacknowledged,
            waiting: self.waiting + other.waiting,
            overhead: self.overhead + other.overhead,
            pushed: self.pushed + other.pushed,
        }
    }
}

/// What is kept of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FlowMemory {
    /// Offset behind the last byte that came.
    came: u64,
    /// Bytes that were read.
    read: u64,
    /// Bytes of packets that may still be kept for what is unread, each as often as it has frames of this stream.
    packets: u64,
    /// Nothing of it is kept any more.
    is_stopped: bool,
    /// Bytes written that are kept.
    pub(crate) kept: u64,
}

impl FlowMemory {
    /// A packet of so many bytes had bytes up to `end`.
    pub(crate) fn take(&mut self, end: u64, packet_len: u64) {
        if !self.is_stopped {
            self.came = self.came.max(end);
            // A repeated frame of what was read is not kept.
            self.packets = if self.is_behind() { self.packets + packet_len } else { 0 };
        }
    }

    pub(crate) fn read(&mut self, bytes: u64) {
        self.read += bytes;
        self.came = self.came.max(self.read);
        self.packets = if self.is_behind() { self.packets.saturating_sub(bytes) } else { 0 };
    }

    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.read = self.came;
        self.packets = 0;
    }

    fn is_behind(&self) -> bool {
        self.came > self.read
    }

    /// What is missing in between is kept by nobody: no more is held than packets brought.
    pub(crate) fn unread(&self) -> u64 {
        (self.came - self.read).min(self.packets)
    }

    /// What packets keep beside the bytes that are unread, at most.
    pub(crate) fn overhead(&self) -> u64 {
        let slack = SLACK_MIN.max(self.unread() * 3 / 2);
        self.packets.saturating_sub(self.unread()).min(slack)
    }

    pub(crate) fn held(&self, of: Burden) -> u64 {
        let kept = if of == Burden::All { self.kept } else { 0 };
        self.unread() + self.overhead() + kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_was_not_read_is_held_with_its_packets() {
        let mut memory = FlowMemory::default();
        memory.take(1_000, 1_200);
        memory.take(2_000, 1_200);
        assert_eq!((memory.unread(), memory.overhead()), (2_000, 400));
        memory.take(1_500, 1_200);
        assert_eq!((memory.unread(), memory.overhead()), (2_000, 1_600), "a repeated frame keeps a packet");
        memory.read(2_000);
        assert_eq!(memory.held(Burden::All), 0);
        memory.take(1_500, 1_200);
        assert_eq!(memory.held(Burden::All), 0, "what was read is not kept again");
        memory.take(5_000, 1_200);
        memory.stop();
        memory.take(9_000, 1_200);
        assert_eq!(memory.held(Burden::All), 0, "nothing of a stopped stream is kept");
    }

    #[test]
    fn a_byte_far_ahead_is_held_as_what_its_packet_is() {
        let mut memory = FlowMemory::default();
        memory.take(1 << 20, 100);
        assert_eq!((memory.unread(), memory.overhead()), (100, 0));
        memory.take((1 << 20) - 1, 1_200);
        assert_eq!(memory.held(Burden::All), 1_300);
        memory.read(1 << 20);
        assert_eq!(memory.held(Burden::All), 0);
    }

    #[test]
    fn many_small_frames_are_charged_with_the_packets_that_they_keep() {
        let mut memory = FlowMemory::default();
        for number in 1..=1_000 {
            memory.take(number * 2, 1_200);
        }
        assert_eq!((memory.unread(), memory.overhead()), (2_000, SLACK_MIN), "then quinn copies them together");
    }
}
