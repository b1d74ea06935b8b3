//! Any bytes as the head of a cell's body and as the inner part of a region.

use wire::cell::CellHead;
use wire::leg::{LegHeader, LegKind};
use wire::packet::{CELL_HEAD_LEN, LEG_HEADER_LEN};

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(head) = CellHead::decode(data) {
        assert_eq!(head.encode(), data[..CELL_HEAD_LEN], "every byte of a head means something");
    }
    let Ok((header, packet)) = LegHeader::decode(data) else { return };
    assert_eq!(header.encode(), data[..LEG_HEADER_LEN], "every byte of a header means something");
    assert_eq!(packet, &data[LEG_HEADER_LEN..][..usize::from(header.length)]);
    assert_eq!(header.kind != LegKind::Cover, !packet.is_empty());
    assert!(header.feedback.highest.max(header.feedback.received) <= LegHeader::COUNTER_MASK);
}
