//! A neighbour that writes whatever it likes into its segment. Offsets are those of docs/spec/queues.md,
//! section 2, for two queue pairs of 4 KiB.

use flow_queue::{Geometry, QueueSide, Segments, Side};
use proptest::prelude::*;
use shaped_node::queues::{FlowQueues, QueueFault};
use shm_ring::{OwnSegment, Writable};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use wire::local::{LocalMessage, MESSAGE_LEN, QueueRef};

const SLEEP_AT: usize = 128;
const CONTROL_WRITE_AT: usize = 256;
const CONTROL_READ_AT: usize = 384;
const ACTIVITY_AT: usize = 512;
const WRITE_AT: usize = 640;
const READ_AT: usize = 704;
const MESSAGES_AT: usize = 896;
const RINGS_AT: usize = 8192;
const LEN: usize = RINGS_AT + 2 * 4096;

/// An honest assigning side, and the raw segment of the other.
fn victim() -> (QueueSide, OwnSegment) {
    let geometry = Geometry::new(2, 4096, 1).expect("in range");
    let segments = Segments::create(&geometry).expect("small segments");
    let fds = segments.unshaped_side().expect("four descriptors");
    let victim = QueueSide::open(&geometry, Side::Unshaped, true, fds).expect("made for it");
    let hostile = segments.shaped_side().expect("four descriptors");
    (victim, OwnSegment::map(hostile[0].as_fd(), LEN).expect("its own segment"))
}

fn set(hostile: &OwnSegment, at: usize, value: u64) {
    hostile.store(at, value, Ordering::Release);
}

#[test]
fn impossible_positions_are_faults() {
    for position in [4097, u64::MAX, 1 << 63] {
        let (mut victim, hostile) = victim();
        set(&hostile, WRITE_AT, position);
        set(&hostile, ACTIVITY_AT, 1);
        assert_eq!(victim.poll_active(), Some(0));
        assert_eq!(victim.readable(0), Err(QueueFault::Position));
        assert_eq!(victim.read(0, 10), Err(QueueFault::Position));
        assert_eq!(victim.peek(0, 10), Err(QueueFault::Position));
        assert_eq!(victim.discard(0, 1), Err(QueueFault::Position));
        let null = std::fs::File::options().write(true).open("/dev/null").expect("every system has it");
        let error = victim.read_into_fd(0, &null, 10).expect_err("a fault");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<QueueFault>());
        assert_eq!(fault, Some(&QueueFault::Position));

        set(&hostile, READ_AT, position);
        assert_eq!(victim.writable(0), Err(QueueFault::Position));
        assert_eq!(victim.allocate().map(|queue| queue.index), Some(1), "the other pair is not affected");
    }
}

#[test]
fn impossible_control_positions_are_faults() {
    let (mut victim, hostile) = victim();
    set(&hostile, CONTROL_WRITE_AT, 17);
    assert_eq!(victim.poll_message(), Err(QueueFault::Position));
    set(&hostile, CONTROL_READ_AT, 1);
    let queue = QueueRef { index: 0, use_count: 1 };
    // Room is known for the whole queue at first; the position is looked at when it is used up.
    let results: Vec<_> = (0..17).map(|_| victim.send_message(&LocalMessage::Fin(queue, 0))).collect();
    assert_eq!(results[16], Ok(()), "position 1 became possible with the first message");
    set(&hostile, CONTROL_READ_AT, 0);
    assert_eq!(victim.send_message(&LocalMessage::Fin(queue, 0)), Err(QueueFault::Position), "it went back");
}

proptest! {
    /// Random words and bytes anywhere in the neighbour's segment, between random calls. Nothing panics, nothing
    /// hangs, and what was read is no longer than what the positions allowed.
    #[test]
    fn any_bytes_in_the_segment_lead_to_faults_at_worst(
        writes in proptest::collection::vec((0..10usize, any::<u64>(), 0..40u64), 1..60),
        messages in proptest::collection::vec(any::<u8>(), MESSAGE_LEN * 4),
    ) {
        let (mut victim, hostile) = victim();
        hostile.copy_in(MESSAGES_AT, &messages);
        let places = [
            SLEEP_AT, CONTROL_WRITE_AT, CONTROL_READ_AT, ACTIVITY_AT, WRITE_AT, READ_AT, WRITE_AT + 128,
            READ_AT + 128, MESSAGES_AT, RINGS_AT,
        ];
        let mut read = [0u64; 2];
        for (place, wild, near) in writes {
            let value = if wild % 3 == 0 { wild } else { near };
            set(&hostile, places[place], value);
            // Bounded by its pass, however often the activity word changes.
            let active = std::iter::from_fn(|| victim.poll_active()).count();
            prop_assert!(active <= 2);
            for index in 0..2 {
                let waiting = victim.readable(index);
                if let Ok(bytes) = victim.read(index, 100) {
                    prop_assert!(waiting.is_ok_and(|waiting| bytes.len() == waiting.min(100)));
                    read[usize::from(index)] += bytes.len() as u64;
                }
                prop_assert_eq!(victim.read_position(index), read[usize::from(index)]);
                prop_assert!(victim.writable(index).is_ok_and(|room| room <= 4096) || victim.writable(index).is_err());
                let _ = victim.write(index, b"answer");
            }
            let _ = victim.poll_message();
            if let Some(queue) = victim.allocate() {
                victim.release(queue);
            }
            victim.flush();
            let _ = victim.spin(1);
            if victim.prepare_sleep() {
                victim.awake();
            }
        }
    }
}
