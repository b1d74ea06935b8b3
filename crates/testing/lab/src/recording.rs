//! What the relay noted.

use std::time::Duration;

use adversary::{Direction, Sighting};
use simnet::Fate;

/// How much a recording holds; beyond it packets are forwarded and only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets, about 100 bytes each.
    pub packets: usize,
    /// Bytes kept of each payload, from its beginning.
    pub bytes_each: usize,
    /// Bytes kept of all payloads together; later packets are noted without bytes.
    pub bytes_total: usize,
}

impl Default for Limits {
    /// Two million packets, no bytes.
    fn default() -> Self {
        Self { packets: 2_000_000, bytes_each: 0, bytes_total: 256 << 20 }
    }
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the kernel received it (`CLOCK_MONOTONIC`), which way it went, and its length.
    pub sighting: Sighting,
    /// What the relay did with it. An arrival time is the time at which it was due to be sent on.
    pub fate: Fate,
    /// As much of the payload as the limits allow.
    pub bytes: Vec<u8>,
}

/// All packets in the order in which the relay read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    limits: Limits,
    records: Vec<Record>,
    bytes_kept: usize,
    left_out: u64,
}

impl Recording {
    /// An empty recording.
    pub fn new(limits: Limits) -> Self {
        Self { limits, records: Vec::new(), bytes_kept: 0, left_out: 0 }
    }

    /// Notes a packet.
    pub fn add(&mut self, sighting: Sighting, fate: Fate, payload: &[u8]) {
        if self.records.len() >= self.limits.packets {
            self.left_out += 1;
            return;
        }
        let room = self.limits.bytes_total - self.bytes_kept;
        let keep = payload.len().min(self.limits.bytes_each);
        let bytes = if keep <= room { payload[..keep].to_vec() } else { Vec::new() };
        self.bytes_kept += bytes.len();
        self.records.push(Record { sighting, fate, bytes });
    }

    /// The packets.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Packets that came when the recording was full; 0 in a run that is to be judged.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Time, direction and length of all packets.
    pub fn sightings(&self) -> Vec<Sighting> {
        self.records.iter().map(|record| record.sighting).collect()
    }

    /// The packets of one direction that came within `[from, to)` of the monotonic clock.
    pub fn between(&self, direction: Direction, from: Duration, to: Duration) -> Vec<Sighting> {
        let sightings = self.records.iter().map(|record| record.sighting);
        sightings.filter(|it| it.direction == direction && (from..to).contains(&it.at)).collect()
    }

    /// The kept bytes of the packets of one direction, without packets of which none were kept.
    pub fn payloads(&self, direction: Direction) -> Vec<&[u8]> {
        let records = self.records.iter().filter(|record| record.sighting.direction == direction);
        records.map(|record| record.bytes.as_slice()).filter(|bytes| !bytes.is_empty()).collect()
    }

    /// Packets that were not forwarded.
    pub fn dropped(&self) -> usize {
        self.records.iter().filter(|record| !matches!(record.fate, Fate::Arrives { .. })).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(milliseconds: u64, direction: Direction) -> Sighting {
        Sighting { at: Duration::from_millis(milliseconds), direction, length: 4 }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { packets: 3, bytes_each: 2, bytes_total: 3 };
        let mut recording = Recording::new(limits);
        for at in 0..5 {
            recording.add(sighting(at, Direction::Outward), Fate::Lost, b"abcd");
        }
        assert_eq!(recording.records().len(), 3);
        assert_eq!(recording.left_out(), 2);
        assert_eq!(recording.payloads(Direction::Outward), [b"ab"]);
        assert_eq!(recording.dropped(), 3);
    }

    #[test]
    fn a_window_of_one_direction() {
        let mut recording = Recording::default();
        for at in 0..10 {
            let direction = if at % 2 == 0 { Direction::Outward } else { Direction::Inward };
            recording.add(sighting(at, direction), Fate::Lost, b"");
        }
        let window = recording.between(Direction::Inward, Duration::from_millis(3), Duration::from_millis(7));
        assert_eq!(window, [sighting(3, Direction::Inward), sighting(5, Direction::Inward)]);
    }
}
