//! A handshake message in one or two cells (docs/spec/onion.md, "Parts").
//!
//! ```text
//! part | index 4 bits, count 4 bits | length 2 | bytes |
//! ```

use wire::read::{DecodeError, Reader};

/// Cells that one message takes at most.
pub(crate) const PARTS_MAX: usize = 2;
/// Bytes in front of a part.
pub(crate) const PART_HEAD_LEN: usize = 3;

/// One part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// Which one, from 0.
    pub(crate) index: u8,
    /// How many there are, 1 or 2.
    pub(crate) count: u8,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

/// Cells that a message of `length` bytes takes where `room` bytes are for a part with its head; `None` when there are not
/// enough.
pub(crate) fn count(length: usize, room: usize) -> Option<u8> {
    let room = room.checked_sub(PART_HEAD_LEN).filter(|room| *room > 0)?;
    let count = length.div_ceil(room).max(1);
    (count <= PARTS_MAX).then_some(count as u8)
}

/// Part `index` of a message; all but the last fill their room.
pub(crate) fn part(message: &[u8], index: u8, room: usize) -> Option<Part<'_>> {
    let count = count(message.len(), room).filter(|count| index < *count)?;
    let length = room - PART_HEAD_LEN;
    let bytes = message.chunks(length).nth(usize::from(index)).unwrap_or_default();
    Some(Part { index, count, bytes })
}

impl<'a> Part<'a> {
    /// Writes the part to the front of `out`, which is zero behind it.
    pub(crate) fn write(&self, out: &mut [u8]) {
        let length = (self.bytes.len() as u16).to_be_bytes();
        let (head, rest) = out.split_at_mut(PART_HEAD_LEN);
        head.copy_from_slice(&[self.index << 4 | self.count, length[0], length[1]]);
        let (bytes, rest) = rest.split_at_mut(self.bytes.len());
        bytes.copy_from_slice(self.bytes);
        rest.fill(0);
    }

    /// Reads a part; what stands behind it has no meaning.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let (index, count) = (first >> 4, first & 0x0f);
        if count == 0 || usize::from(count) > PARTS_MAX {
            return Err(DecodeError::Range("count of parts"));
        }
        if index >= count {
            return Err(DecodeError::Range("index of a part"));
        }
        let length = reader.u16()?;
        Ok(Self { index, count, bytes: reader.take(usize::from(length))? })
    }
}

/// Puts the parts of one message together, in whatever order and however often they come. Keeps at most
/// [`PARTS_MAX`] parts, of which each was in one cell.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    count: u8,
    parts: [Option<Box<[u8]>>; PARTS_MAX],
}

impl Assembly {
    /// Takes a part; the message when it was the last one that was missing. A part that says another count begins anew; of
    /// one that is there already the first stays.
    pub(crate) fn take(&mut self, part: &Part<'_>) -> Option<Vec<u8>> {
        if part.count != self.count {
            *self = Self { count: part.count, parts: [None, None] };
        }
        let place = self.parts.get_mut(usize::from(part.index))?;
        place.get_or_insert_with(|| part.bytes.into());
        let needed = &self.parts[..usize::from(self.count)];
        let whole = needed.iter().all(Option::is_some);
        let message = whole.then(|| needed.iter().flatten().flat_map(|part| part.iter().copied()).collect());
        if whole {
            *self = Self::default();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_in_any_order_and_number_make_the_message(
            message in proptest::collection::vec(any::<u8>(), 0..600),
            room in 300usize..700,
            order in proptest::collection::vec(0u8..2, 0..8),
        ) {
            let count = count(message.len(), room);
            prop_assume!(count.is_some());
            let count = count.unwrap_or_default();
            let (mut assembly, mut seen) = (Assembly::default(), [false; PARTS_MAX]);
            for index in order.into_iter().chain(0..2).map(|index| index % count) {
                let mut bytes = vec![0xff; room];
                part(&message, index, room).expect("a part of a message that fits").write(&mut bytes);
                let read = Part::read(&bytes).expect("what was written");
                seen[usize::from(index)] = true;
                let whole = seen[..usize::from(count)].iter().all(|seen| *seen);
                let made = assembly.take(&read);
                prop_assert_eq!(made.is_some(), whole);
                if let Some(made) = made {
                    prop_assert_eq!(&made, &message);
                    seen = [false; PARTS_MAX];
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(count(100, 103), Some(1));
        assert_eq!(count(101, 103), Some(2));
        assert_eq!(count(200, 103), Some(2));
        assert_eq!(count(201, 103), None);
        assert_eq!(count(1, 3), None);
        assert_eq!(count(0, 103), Some(1));
        assert_eq!(part(&[7; 100], 1, 103), None);
    }

    #[test]
    fn heads_that_make_no_sense_are_refused() {
        for head in [0x00, 0x03, 0x11, 0x22, 0xff] {
            assert!(matches!(Part::read(&[head, 0, 0]), Err(DecodeError::Range(_))), "{head:#x}");
        }
        assert_eq!(Part::read(&[0x01, 0, 2, 7]), Err(DecodeError::Truncated));
        assert_eq!(Part::read(&[]), Err(DecodeError::Truncated));
    }
}
