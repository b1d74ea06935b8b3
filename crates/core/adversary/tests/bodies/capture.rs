//! Any bytes as a capture: its packets are slices of it, a cut file gives what stands before the cut, and a recording
//! counts every record once.

use std::num::NonZeroUsize;

use adversary::capture::{End, Ends, PacketError, RECORD_MAX, packets, record};

/// Length of the shortest record: its header.
const RECORD_MIN: usize = 16;
/// Length that packets are cut to, short so that many are.
const PIECE: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(found) = packets(data) else {
        assert!(record(data, Ends::default(), None).is_err());
        return;
    };
    let found: Vec<_> = found.collect();
    assert!(found.len() <= data.len() / RECORD_MIN + 1);
    let within = data.as_ptr_range();
    for packet in found.iter().flatten() {
        let payload = packet.payload.as_ptr_range();
        assert!(packet.payload.is_empty() || (within.start <= payload.start && payload.end <= within.end));
        assert!(packet.payload.len() <= packet.payload_length && packet.payload_length <= RECORD_MAX);
    }
    let ends_early = |it: &Result<_, PacketError>| matches!(it, Err(PacketError::CutOff | PacketError::TooLong(_)));
    assert!(found.iter().rev().skip(1).all(|it| !ends_early(it)), "nothing comes after damage");
    if let Ok(cut) = packets(&data[..data.len() / 2]) {
        let cut: Vec<_> = cut.filter(|it| !ends_early(it)).collect();
        assert_eq!(cut[..], found[..cut.len()]);
    }
    let port = found.iter().flatten().next().map(|packet| packet.source.port());
    let ends = Ends { near: End { address: None, port }, far: End::default() };
    let link = record(data, ends, None).expect("its packets could be read");
    let damaged = u64::from(found.last().is_some_and(ends_early));
    assert_eq!(link.sightings.len() as u64 + link.others + damaged, found.len() as u64);
    assert_eq!(link.damage.is_some(), damaged == 1);
    assert!(link.sightings.is_sorted_by_key(|sighting| sighting.at));
    let pieces = record(data, ends, Some(PIECE)).expect("its packets could be read");
    assert!(pieces.sightings.iter().all(|sighting| sighting.length <= PIECE.get()));
    let bytes = |sightings: &[adversary::Sighting]| sightings.iter().map(|it| it.length as u64).sum::<u64>();
    assert!(pieces.left_out > 0 || bytes(&pieces.sightings) == bytes(&link.sightings));
}
