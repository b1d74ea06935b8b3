//! Offsets in a segment (docs/spec/queues.md, section 2). Both segments have one layout.

use crate::geometry::Geometry;
use shm_ring::{Capacity, ControlLayout, QUEUES_PER_WORD, RingLayout};
use wire::local::MESSAGE_LEN;

/// Positions of different queues are this far apart: processors fetch lines in pairs of 64 bytes.
const LINE: usize = 128;
/// Rings begin on a page, so that their memory can be given back.
const PAGE: usize = 4096;
/// Messages that the control queue holds for each queue pair. The flow protocol has at most 5 outstanding.
const MESSAGES_PER_FLOW: usize = 8;

/// Words of the header line.
pub(crate) const HEADER_WORDS: usize = 6;
/// First word of every segment: "HUSHQUE" and the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"HUSHQUE\x01");

/// Where everything lies, computed from the geometry alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    geometry: Geometry,
    ring: Capacity,
    control: Capacity,
    positions_at: usize,
    messages_at: usize,
    rings_at: usize,
}

/// Offset of the sleep counter.
pub(crate) const SLEEP_AT: usize = LINE;
const CONTROL_WRITE_AT: usize = 2 * LINE;
const CONTROL_READ_AT: usize = 3 * LINE;
/// Offset of the activity words.
pub(crate) const ACTIVITY_AT: usize = 4 * LINE;

impl Layout {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        let flows = usize::from(geometry.max_flows());
        let messages = (flows * MESSAGES_PER_FLOW).next_power_of_two();
        let capacity = |units: u64| Capacity::new(units).expect("a power of two far below 2^62");
        let positions_at = (ACTIVITY_AT + flows.div_ceil(QUEUES_PER_WORD) * 8).next_multiple_of(LINE);
        let messages_at = positions_at + flows * LINE;
        Self {
            geometry: *geometry,
            ring: capacity(geometry.queue_size().into()),
            control: capacity(messages as u64),
            positions_at,
            messages_at,
            rings_at: (messages_at + messages * MESSAGE_LEN).next_multiple_of(PAGE),
        }
    }

    /// Bytes of a segment.
    pub(crate) fn segment_len(&self) -> usize {
        self.ring_at(usize::from(self.geometry.max_flows()))
    }

    /// The header line of the segment that the given side writes.
    pub(crate) fn header(&self, shaped: bool) -> [u64; HEADER_WORDS] {
        [
            MAGIC,
            self.geometry.generation(),
            self.geometry.max_flows().into(),
            self.geometry.queue_size().into(),
            self.segment_len() as u64,
            shaped.into(),
        ]
    }

    pub(crate) fn control(&self) -> ControlLayout {
        ControlLayout {
            capacity: self.control,
            messages_at: self.messages_at,
            write_at: CONTROL_WRITE_AT,
            read_at: CONTROL_READ_AT,
        }
    }

    pub(crate) fn ring(&self, index: usize) -> RingLayout {
        RingLayout {
            capacity: self.ring,
            bytes_at: self.ring_at(index),
            write_at: self.write_at(index),
            read_at: self.read_at(index),
        }
    }

    /// The word with the write position of the segment's own ring of that queue pair.
    pub(crate) fn write_at(&self, index: usize) -> usize {
        self.positions_at + index * LINE
    }

    /// The word with the read position of the other segment's ring of that queue pair.
    pub(crate) fn read_at(&self, index: usize) -> usize {
        self.write_at(index) + LINE / 2
    }

    pub(crate) fn ring_at(&self, index: usize) -> usize {
        self.rings_at + index * self.geometry.queue_size() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_the_default_geometry_is_as_specified() {
        let layout = Layout::new(&Geometry::new(1024, 256 << 10, 3).expect("in range"));
        assert_eq!(layout.positions_at, 640);
        assert_eq!(layout.messages_at, 640 + 1024 * 128);
        assert_eq!(layout.control.units(), 8192);
        assert_eq!(layout.rings_at, 2_494_464);
        assert_eq!(layout.segment_len(), 2_494_464 + 1024 * 262_144);
        assert_eq!(layout.header(true)[1..], [3, 1024, 262_144, layout.segment_len() as u64, 1]);
        assert_eq!(layout.ring(1).write_at, 768);
        assert_eq!(layout.ring(1).read_at, 832);
    }

    #[test]
    fn nothing_overlaps_at_either_end_of_the_range() {
        for (flows, size) in [(1, 4096), (63, 4096), (65, 8192), (4096, 64 << 20)] {
            let layout = Layout::new(&Geometry::new(flows, size, 0).expect("in range"));
            assert!(ACTIVITY_AT + usize::from(flows).div_ceil(64) * 8 <= layout.positions_at);
            assert!(layout.read_at(usize::from(flows) - 1) + 8 <= layout.messages_at);
            assert!(layout.messages_at + layout.control.units() as usize * MESSAGE_LEN <= layout.rings_at);
            assert_eq!(layout.rings_at % PAGE, 0);
        }
    }
}
