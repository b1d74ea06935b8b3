//! A neighbour that writes any words and bytes into its segment, between any calls of the honest side. Offsets are
//! those of docs/spec/queues.md, section 2, for two queue pairs of 4 KiB.

use flow_queue::{Geometry, QueueSide, Segments, Side};
use shaped_node::queues::FlowQueues;
use shm_ring::{OwnSegment, Writable};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use wire::flow::ResetReason;
use wire::local::{LocalMessage, MESSAGE_LEN, QueueRef};

const FLOWS: u16 = 2;
const QUEUE_SIZE: usize = 4096;
/// Sleep counter, control positions, activity word, and the positions of both queue pairs.
const WORDS: [usize; 8] = [128, 256, 384, 512, 640, 704, 768, 832];
const MESSAGES_AT: usize = 896;
const RINGS_AT: usize = 8192;
const LEN: usize = RINGS_AT + FLOWS as usize * QUEUE_SIZE;

/// Feeds one input: its first byte says who assigns, then come steps. Bit 7 of a step's first byte tells deeds of the
/// neighbour from calls of the honest side.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let (mut honest, hostile) = sides(first & 1 == 1);
    let mut taken = Vec::new();
    while let [step, tail @ ..] = rest {
        rest = if step & 0x80 != 0 {
            deed(&hostile, *step, tail)
        } else {
            call(&mut honest, &mut taken, *step);
            tail
        };
    }
}

/// The honest unshaped side, and the raw segment of the other.
fn sides(assigns: bool) -> (QueueSide, OwnSegment) {
    let geometry = Geometry::new(FLOWS, QUEUE_SIZE as u32, 1).expect("in range");
    let segments = Segments::create(&geometry).expect("small segments");
    let fds = segments.unshaped_side().expect("four descriptors");
    let honest = QueueSide::open(&geometry, Side::Unshaped, assigns, fds).expect("made for it");
    let hostile = segments.shaped_side().expect("four descriptors");
    (honest, OwnSegment::map(hostile[0].as_fd(), LEN).expect("its own segment"))
}

/// The neighbour stores a word or copies bytes; returns what it did not use.
fn deed<'a>(hostile: &OwnSegment, step: u8, tail: &'a [u8]) -> &'a [u8] {
    if step & 0x40 == 0 {
        let at = WORDS[usize::from(step & 7)];
        // Small numbers are written in one byte, so that plausible positions are found soon.
        let (value, left) = if step & 0x20 == 0 {
            let Some((&byte, left)) = tail.split_first() else { return &[] };
            (u64::from(byte), left)
        } else {
            let Some((word, left)) = tail.split_first_chunk() else { return &[] };
            (u64::from_be_bytes(*word), left)
        };
        hostile.store(at, value, Ordering::Release);
        return left;
    }
    let count = usize::from(step & 0x1f).min(tail.len());
    let (bytes, left) = tail.split_at(count);
    let at = if step & 0x20 == 0 { MESSAGES_AT + usize::from(step & 3) * MESSAGE_LEN } else { RINGS_AT };
    hostile.copy_in(at, bytes);
    left
}

/// One call of the honest side, with what its promise says about the outcome.
fn call(honest: &mut QueueSide, taken: &mut Vec<QueueRef>, step: u8) {
    let index = u16::from(step >> 4 & 1);
    let (read_before, written_before) = (honest.read_position(index), honest.write_position(index));
    match step & 0x0f {
        0 => reads(honest, index, read_before),
        1 => {
            let waiting = honest.readable(index);
            let peeked = honest.peek(index, QUEUE_SIZE);
            assert!(peeked.is_err() || waiting.is_ok_and(|waiting| peeked.is_ok_and(|bytes| bytes.len() == waiting)));
            assert_eq!(honest.read_position(index), read_before);
        }
        2 => {
            let room = honest.writable(index);
            assert!(room.is_err() || room.is_ok_and(|room| room <= QUEUE_SIZE));
            let count = honest.write(index, &[0x5a; 1000]).unwrap_or(0);
            assert_eq!(honest.write_position(index), written_before.wrapping_add(count as u64));
        }
        3 => {
            let whole = honest.write_all(index, &[b"ab", &[7; 300]]).unwrap_or(false);
            assert_eq!(honest.write_position(index), written_before.wrapping_add(if whole { 302 } else { 0 }));
        }
        4 => assert!(std::iter::from_fn(|| honest.poll_active()).count() <= usize::from(FLOWS)),
        5 => {
            if let Ok(Some(message)) = honest.poll_message() {
                assert!(message.queue().index < FLOWS, "an index that is not there ends the generation");
            }
        }
        6 => taken.extend(honest.allocate()),
        7 => taken.pop().into_iter().for_each(|queue| honest.release(queue)),
        8 => transfers(honest, index),
        9 => {
            let _ = honest.discard(index, read_before.wrapping_add(u64::from(step >> 5)));
        }
        10 => honest.flush(),
        11 => {
            if honest.prepare_sleep() {
                honest.awake();
            }
        }
        12 => {
            let _ = honest.is_out_drained(index);
        }
        _ => {
            let queue = taken.last().copied().unwrap_or(QueueRef { index, use_count: 0 });
            let message = match step & 3 {
                0 => LocalMessage::Fin(queue, written_before),
                1 => LocalMessage::Reset(queue, ResetReason::ByPeer),
                _ => LocalMessage::Closed(queue, written_before),
            };
            let _ = honest.send_message(&message);
        }
    }
    assert!(honest.read_position(index) >= read_before && honest.write_position(index) >= written_before);
}

fn reads(honest: &mut QueueSide, index: u16, before: u64) {
    let waiting = honest.readable(index);
    let read = honest.read(index, 100).map(|bytes| bytes.len());
    assert_eq!(read, waiting.map(|waiting| waiting.min(100)));
    assert_eq!(honest.read_position(index), before + read.unwrap_or(0) as u64);
}

fn transfers(honest: &mut QueueSide, index: u16) {
    let device = |name: &str| File::options().read(true).write(true).open(name).expect("every system has it");
    let moved = [
        honest.read_into_fd(index, device("/dev/null"), QUEUE_SIZE),
        honest.write_from_fd(index, device("/dev/zero"), QUEUE_SIZE),
    ];
    assert!(moved.iter().flatten().all(|count| *count <= QUEUE_SIZE));
}
