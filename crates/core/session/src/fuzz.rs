//! The fuzz body of session datagrams: run by libFuzzer and, over the committed corpus, by `cargo test`.

use crate::datagram::{PARTS_MAX, Reassembly, record_max, split};
use crate::flow::FlowId;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Largest session datagram of the round trips.
const DATAGRAM_MAX: usize = 100;

/// Feeds a reassembly with session datagrams cut from `input`, and lets time pass between them.
///
/// Each piece is `wait 1 | length 1 | bytes`. Its bytes are also split as a record and put together again.
///
/// # Panics
/// When a bound is broken or a round trip fails: that is the finding.
pub fn session_datagrams(input: &[u8], start: Instant) {
    let (mut reassembly, mut now, mut rest) = (Reassembly::default(), start, input);
    let (mut pushed, mut came_out) = (0, 0);
    while let [wait, length, tail @ ..] = rest {
        let (piece, behind) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = behind;
        now += Duration::from_millis(u64::from(*wait) * 10);
        pushed += piece.len();
        if let Ok(Some((flow, record))) = reassembly.push(now, &Bytes::copy_from_slice(piece)) {
            assert!(flow.stream().is_none(), "datagrams belong to datagram flows");
            came_out += record.len();
        }
        assert!(came_out <= pushed, "no byte comes out twice");
        assert!(reassembly.waiting() <= PARTS_MAX);
        there_and_back(piece, u32::from(*wait), now);
    }
}

fn there_and_back(record: &[u8], number: u32, now: Instant) {
    let flow = FlowId::datagrams(u64::from(number));
    let Some((first, second)) = split(flow, number, record, DATAGRAM_MAX) else {
        return assert!(record.len() > record_max(DATAGRAM_MAX), "it would fit");
    };
    let mut reassembly = Reassembly::default();
    let mut outcome = reassembly.push(now, &first);
    if let Some(second) = second {
        assert_eq!(outcome, Ok(None), "its other half has not come");
        assert!(first.len() <= DATAGRAM_MAX && second.len() <= DATAGRAM_MAX);
        outcome = reassembly.push(now, &second);
    }
    assert_eq!(outcome, Ok(Some((flow, Bytes::copy_from_slice(record)))));
}
