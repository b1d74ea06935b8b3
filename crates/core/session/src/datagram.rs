//! Records of datagram flows in session datagrams, whole or in two parts (docs/spec/session.md, "Datagrams").
//!
//! ```text
//! whole   0 | flow 8 | record
//! part    1 first, 2 second | flow 8 | number 4 | part of the record
//! ```

use crate::flow::FlowId;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::read::Reader;

/// Parts that may wait for their other half. When full, the oldest is dropped and counted.
pub const PARTS_MAX: usize = 64;
/// How long a part waits for its other half.
pub const PART_TIMEOUT: Duration = Duration::from_secs(2);
/// Records that may wait for their flow's SYN. When full, the oldest is dropped and counted.
pub const EARLY_MAX: usize = 64;

/// Bytes in front of a whole record.
const WHOLE_HEAD: usize = 1 + 8;
/// Bytes in front of a part.
const PART_HEAD: usize = WHOLE_HEAD + 4;

/// Bytes of session datagrams that may wait to be sent, with [`WAITING_OVERHEAD`] for each. When full, `send_datagram` says so.
pub(crate) const UNSENT_BYTES_MAX: usize = 256 * 1024;
/// What is charged for each of them, beside its bytes.
const WAITING_OVERHEAD: usize = size_of::<(FlowId, Bytes)>();

/// Session datagrams that wait for the packets that will hold them, oldest first. quinn would keep what it is given until it is
/// sent; from here the datagrams of a flow can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(FlowId, Bytes)>,
    bytes: usize,
}

impl Outbox {
    /// Takes the one or two halves of a record, if there is room for both.
    pub(crate) fn push(&mut self, flow: FlowId, halves: [Option<Bytes>; 2]) -> bool {
        let cost = |half: &Bytes| half.len() + WAITING_OVERHEAD;
        let charged = self.bytes + WAITING_OVERHEAD * self.waiting.len();
        if charged + halves.iter().flatten().map(cost).sum::<usize>() > UNSENT_BYTES_MAX {
            return false;
        }
        for half in halves.into_iter().flatten() {
            self.bytes += half.len();
            self.waiting.push_back((flow, half));
        }
        true
    }

    /// The oldest one.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let (_, datagram) = self.waiting.pop_front()?;
        self.bytes -= datagram.len();
        Some(datagram)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Lets go of what waits for a flow.
    pub(crate) fn forget(&mut self, flow: FlowId) {
        self.waiting.retain(|(of, _)| *of != flow);
        self.bytes = self.waiting.iter().map(|(_, datagram)| datagram.len()).sum();
    }

    /// What waits: whose it is, and bytes.
    pub(crate) fn held(&self) -> impl Iterator<Item = (FlowId, u64)> {
        self.waiting.iter().map(|(flow, datagram)| (*flow, datagram.len() as u64))
    }
}

/// The largest record that fits, given the largest session datagram.
pub(crate) fn record_max(datagram_max: usize) -> usize {
    2 * datagram_max.saturating_sub(PART_HEAD)
}

/// A record as one or two session datagrams of at most `datagram_max` bytes; none if it is larger than
/// [`record_max`]. The first part is as large as it can be.
pub(crate) fn split(flow: FlowId, number: u32, record: &[u8], datagram_max: usize) -> Option<(Bytes, Option<Bytes>)> {
    if record.len() + WHOLE_HEAD <= datagram_max {
        let mut whole = BytesMut::with_capacity(WHOLE_HEAD + record.len());
        whole.put_u8(0);
        whole.put_u64(flow.number());
        whole.put_slice(record);
        return Some((whole.freeze(), None));
    }
    if record.len() > record_max(datagram_max) {
        return None;
    }
    let (first, second) = record.split_at(datagram_max - PART_HEAD);
    let part = |kind: u8, bytes: &[u8]| {
        let mut part = BytesMut::with_capacity(PART_HEAD + bytes.len());
        part.put_u8(kind);
        part.put_u64(flow.number());
        part.put_u32(number);
        part.put_slice(bytes);
        part.freeze()
    };
    Some((part(1, first), Some(part(2, second))))
}

/// A session datagram that does not follow the layout. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadDatagram;

/// Puts parts together.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    parts: VecDeque<Part>,
    /// Parts whose other half did not come in time or before the room was needed.
    pub(crate) dropped: u64,
}

#[derive(Debug)]
struct Part {
    flow: FlowId,
    number: u32,
    is_first: bool,
    came: Instant,
    bytes: Bytes,
}

impl Reassembly {
    /// Takes a session datagram. `Ok(None)`: a part whose other half has not come.
    pub(crate) fn push(&mut self, now: Instant, datagram: &Bytes) -> Result<Option<(FlowId, Bytes)>, BadDatagram> {
        let mut reader = Reader::new(datagram);
        let kind = reader.u8().map_err(|_| BadDatagram)?;
        let flow = reader.u64().map_err(|_| BadDatagram)?;
        let flow = FlowId::from_wire(flow).filter(|flow| flow.stream().is_none()).ok_or(BadDatagram)?;
        let is_first = match kind {
            0 => return Ok(Some((flow, datagram.slice(WHOLE_HEAD..)))),
            1 => true,
            2 => false,
            _ => return Err(BadDatagram),
        };
        let number = reader.u32().map_err(|_| BadDatagram)?;
        let bytes = datagram.slice(PART_HEAD..);
        self.expire(now);
        let other = self.parts.iter().position(|part| part.flow == flow && part.number == number);
        let Some(other) = other.and_then(|index| self.parts.remove(index)) else {
            self.keep(Part { flow, number, is_first, came: now, bytes });
            return Ok(None);
        };
        if other.is_first == is_first {
            return Err(BadDatagram);
        }
        let (first, second) = if is_first { (bytes, other.bytes) } else { (other.bytes, bytes) };
        let mut record = BytesMut::with_capacity(first.len() + second.len());
        record.put_slice(&first);
        record.put_slice(&second);
        Ok(Some((flow, record.freeze())))
    }

    /// Parts whose other half has not come.
    pub(crate) fn waiting(&self) -> usize {
        self.parts.len()
    }

    /// The flow of each of them.
    pub(crate) fn flows(&self) -> impl Iterator<Item = FlowId> {
        self.parts.iter().map(|part| part.flow)
    }

    /// Lets go of the parts of a flow.
    pub(crate) fn forget(&mut self, flow: FlowId) {
        self.parts.retain(|part| part.flow != flow);
    }

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {
        self.parts = VecDeque::new();
    }

    fn keep(&mut self, part: Part) {
        if self.parts.len() >= PARTS_MAX {
            self.parts.pop_front();
            self.dropped += 1;
        }
        self.parts.push_back(part);
    }

    fn expire(&mut self, now: Instant) {
        while self.parts.front().is_some_and(|part| now.saturating_duration_since(part.came) >= PART_TIMEOUT) {
            self.parts.pop_front();
            self.dropped += 1;
        }
    }
}

/// Records that came before their flow's SYN.
#[derive(Debug, Default)]
pub(crate) struct Early {
    records: VecDeque<(FlowId, Bytes)>,
    /// Records that were dropped because the room was needed.
    pub(crate) dropped: u64,
}

impl Early {
    pub(crate) fn keep(&mut self, flow: FlowId, record: Bytes) {
        if self.records.len() >= EARLY_MAX {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back((flow, record));
    }

    /// Records that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.records.len()
    }

    /// The flow of each of them.
    pub(crate) fn flows(&self) -> impl Iterator<Item = FlowId> {
        self.records.iter().map(|(flow, _)| *flow)
    }

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {
        self.records = VecDeque::new();
    }

    /// Takes out, in order, the records of a flow whose SYN has come.
    pub(crate) fn release(&mut self, flow: FlowId) -> Vec<Bytes> {
        let (released, kept) = self.records.drain(..).partition(|(of, _)| *of == flow);
        self.records = kept;
        let released: VecDeque<(FlowId, Bytes)> = released;
        released.into_iter().map(|(_, record)| record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOW: FlowId = FlowId(2);

    fn parts(record: &[u8], number: u32) -> (Bytes, Bytes) {
        let (first, second) = split(FLOW, number, record, 1192).expect("it fits two");
        (first, second.expect("it does not fit one"))
    }

    #[test]
    fn a_part_waits_only_so_long_and_only_so_many_wait() {
        let now = crate::support::origin();
        let mut reassembly = Reassembly::default();
        let (first, second) = parts(&[7; 2000], 1);
        assert_eq!(reassembly.push(now, &first), Ok(None));
        assert_eq!(reassembly.push(now + PART_TIMEOUT, &second), Ok(None), "the first part is gone");
        assert_eq!(reassembly.dropped, 1);
        for number in 2..200 {
            assert_eq!(reassembly.push(now + PART_TIMEOUT, &parts(&[7; 2000], number).0), Ok(None));
        }
        assert_eq!(reassembly.parts.len(), PARTS_MAX);
    }

    #[test]
    fn what_waits_to_be_sent_is_bounded_and_can_be_taken_back() {
        let mut outbox = Outbox::default();
        let other = FlowId(6);
        let half = |bytes| Some(Bytes::from(vec![7; bytes]));
        let mut taken = 0;
        while outbox.push(if taken % 2 == 0 { FLOW } else { other }, [half(1000), half(0)]) {
            taken += 1;
        }
        assert_eq!(taken, UNSENT_BYTES_MAX / (1000 + 2 * WAITING_OVERHEAD));
        assert_eq!(outbox.held().map(|(_, bytes)| bytes).sum::<u64>(), outbox.bytes());
        outbox.forget(FLOW);
        assert_eq!(outbox.bytes(), taken as u64 / 2 * 1000);
        assert!(outbox.held().all(|(flow, _)| flow == other) && outbox.push(FLOW, [half(1), None]));
        while outbox.pop().is_some() {}
        assert_eq!((outbox.bytes(), outbox.held().count()), (0, 0));
    }

    #[test]
    fn nonsense_is_refused() {
        let now = crate::support::origin();
        let mut reassembly = Reassembly::default();
        let (first, _) = parts(&[7; 2000], 1);
        assert_eq!(reassembly.push(now, &first), Ok(None));
        assert_eq!(reassembly.push(now, &first), Err(BadDatagram), "the same half twice");
        let stream_flow = [&[0][..], &4u64.to_be_bytes()].concat();
        for bad in [vec![], vec![0; 8], stream_flow, vec![3; 20], vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0]] {
            assert_eq!(reassembly.push(now, &bad.into()), Err(BadDatagram));
        }
    }

    #[test]
    fn early_records_are_released_in_order_and_bounded() {
        let mut early = Early::default();
        for index in 0..=EARLY_MAX as u8 {
            early.keep(FlowId(if index % 2 == 0 { 2 } else { 6 }), Bytes::from(vec![index]));
        }
        assert_eq!(early.dropped, 1);
        let released: Vec<u8> = early.release(FlowId(2)).iter().map(|record| record[0]).collect();
        assert!(released.is_sorted() && released.first() == Some(&2) && released.last() == Some(&64));
        assert!(early.release(FlowId(2)).is_empty());
        assert_eq!(early.release(FlowId(6)).len(), 32);
    }

    proptest! {
        #[test]
        fn a_record_survives_in_either_order(length in 0usize..2400, swap in any::<bool>(), number in any::<u32>()) {
            let now = crate::support::origin();
            let record: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut reassembly = Reassembly::default();
            let Some((first, second)) = split(FLOW, number, &record, 1192) else {
                prop_assert!(length > record_max(1192));
                return Ok(());
            };
            prop_assert!(first.len() <= 1192);
            let Some(second) = second else {
                prop_assert_eq!(reassembly.push(now, &first), Ok(Some((FLOW, Bytes::from(record)))));
                return Ok(());
            };
            prop_assert!(second.len() <= 1192);
            let (one, two) = if swap { (second, first) } else { (first, second) };
            prop_assert_eq!(reassembly.push(now, &one), Ok(None));
            prop_assert_eq!(reassembly.push(now, &two), Ok(Some((FLOW, Bytes::from(record)))));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Reassembly::default().push(crate::support::origin(), &bytes.into());
        }
    }
}
