//! What an observer beside the senders writes down.

use std::net::SocketAddr;
use std::time::Duration;

/// Records kept at most; later packets are only counted. About 400 MB without payloads.
const RECORDS_MAX: usize = 4_000_000;

/// How much of each payload a recording keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Lengths only.
    #[default]
    Lengths,
    /// The first so many bytes.
    First(usize),
    /// Everything.
    Whole,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time since the start.
    Arrives {
        /// The time since the start of the simulation.
        at: Duration,
    },
    /// It was lost on the way.
    Lost,
    /// The queue in front of the line was full.
    QueueFull,
    /// The line was cut.
    Cut,
    /// It was larger than the path allows.
    TooLarge,
    /// No node has the address it was sent to.
    NoSuchAddress,
    /// There is no path between the two nodes.
    NoPath,
}

/// One packet, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The time since the start at which it was sent.
    pub at: Duration,
    /// The sender's address.
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: SocketAddr,
    /// The payload's length in bytes.
    pub length: usize,
    /// What became of it.
    pub fate: Fate,
    /// As much of the payload as the recording keeps.
    pub bytes: Vec<u8>,
}

/// Every packet of a run, in the order in which they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    keep: Keep,
    records: Vec<Record>,
    left_out: u64,
}

impl Recording {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    pub(crate) fn add(&mut self, mut record: Record, payload: &[u8]) {
        if self.records.len() == RECORDS_MAX {
            self.left_out += 1;
            return;
        }
        record.bytes = match self.keep {
            Keep::Lengths => Vec::new(),
            Keep::First(count) => payload[..payload.len().min(count)].to_vec(),
            Keep::Whole => payload.to_vec(),
        };
        self.records.push(record);
    }

    /// The packets.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Packets that were sent after the recording was full (4,000,000 records); 0 in a run to be judged.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The observer's sequence: time, direction (`true` for packets sent from `side`) and length of every packet whose
    /// sender or destination is `side`.
    pub fn sequence(&self, side: SocketAddr) -> impl Iterator<Item = (Duration, bool, usize)> + '_ {
        let seen = self.records.iter().filter(move |record| record.from == side || record.to == side);
        seen.map(move |record| (record.at, record.from == side, record.length))
    }

    /// Forgets what was recorded so far.
    pub fn clear(&mut self) {
        self.records.clear();
        self.left_out = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let (from, to) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 2)));
        Record { at: Duration::ZERO, from, to, length: 4, fate: Fate::Lost, bytes: Vec::new() }
    }

    #[test]
    fn keeps_as_much_as_asked() {
        for (keep, expected) in [(Keep::Lengths, &b""[..]), (Keep::First(2), b"ab"), (Keep::Whole, b"abcd")] {
            let mut recording = Recording::new(keep);
            recording.add(record(), b"abcd");
            assert_eq!(recording.records()[0].bytes, expected);
        }
    }

    #[test]
    fn the_sequence_shows_directions() {
        let mut recording = Recording::default();
        let back = Record { from: record().to, to: record().from, ..record() };
        recording.add(record(), b"");
        recording.add(back, b"");
        let directions: Vec<bool> = recording.sequence(record().from).map(|(_, direction, _)| direction).collect();
        assert_eq!(directions, [true, false]);
        recording.clear();
        assert_eq!(recording.records(), []);
    }
}
