//! Reads the frames of a 1-RTT packet that this side is about to seal, or has just opened (RFC 9000, section 19).
//!
//! quinn keeps to itself what is written but not yet sent, and what has come but was not yet read. What it sends and gets
//! is in its packets, so it is read there.

use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

/// What a packet carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketFrame {
    /// Stream bytes `end - length..end` of a stream.
    Stream {
        /// The QUIC stream id.
        id: u64,
        /// Offset behind the last byte.
        end: u64,
        /// Bytes.
        length: u64,
    },
    /// A datagram of that many bytes.
    Datagram(u64),
    /// An acknowledgement.
    Ack,
    /// Anything else that asks for an acknowledgement.
    Other,
}

/// A frame that does not follow RFC 9000, or one that quinn did not write when this was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnreadableFrame;

/// Calls `found` for each frame but padding, in order.
pub(crate) fn read_frames(payload: &[u8], mut found: impl FnMut(PacketFrame)) -> Result<(), UnreadableFrame> {
    let mut frames = Frames(payload);
    while !frames.0.is_empty() {
        if let Some(frame) = frames.next_frame()? {
            found(frame);
        }
    }
    Ok(())
}

struct Frames<'a>(&'a [u8]);

impl Frames<'_> {
    fn next_frame(&mut self) -> Result<Option<PacketFrame>, UnreadableFrame> {
        let kind = self.number()?;
        match kind {
            0x00 => return Ok(None),
            // PING, HANDSHAKE_DONE, IMMEDIATE_ACK
            0x01 | 0x1e | 0x1f | 0xac => {}
            0x02 | 0x03 => return self.ack(kind == 0x03).map(Some),
            // RESET_STREAM
            0x04 => self.skip_numbers(3)?,
            // STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED
            0x05 | 0x11 | 0x15 => self.skip_numbers(2)?,
            // CRYPTO
            0x06 => {
                self.number()?;
                self.skip_counted()?;
            }
            // NEW_TOKEN
            0x07 => self.skip_counted()?,
            0x08..=0x0f => return self.stream(kind).map(Some),
            // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID
            0x10 | 0x12 | 0x13 | 0x14 | 0x16 | 0x17 | 0x19 => self.skip_numbers(1)?,
            // NEW_CONNECTION_ID
            0x18 => {
                self.skip_numbers(2)?;
                let length = *self.0.first().ok_or(UnreadableFrame)?;
                self.skip(1 + u64::from(length) + 16)?;
            }
            // PATH_CHALLENGE, PATH_RESPONSE
            0x1a | 0x1b => self.skip(8)?,
            // CONNECTION_CLOSE
            0x1c => {
                self.skip_numbers(2)?;
                self.skip_counted()?;
            }
            0x1d => {
                self.number()?;
                self.skip_counted()?;
            }
            0x30 | 0x31 => return self.datagram(kind == 0x31).map(Some),
            // ACK_FREQUENCY
            0xaf => self.skip_numbers(4)?,
            _ => return Err(UnreadableFrame),
        }
        Ok(Some(PacketFrame::Other))
    }

    fn ack(&mut self, has_ecn: bool) -> Result<PacketFrame, UnreadableFrame> {
        self.skip_numbers(2)?;
        let ranges = self.number()?;
        // The first range, then a gap and a length each.
        self.skip_numbers(ranges.saturating_mul(2).saturating_add(1))?;
        if has_ecn {
            self.skip_numbers(3)?;
        }
        Ok(PacketFrame::Ack)
    }

    fn stream(&mut self, kind: u64) -> Result<PacketFrame, UnreadableFrame> {
        let id = self.number()?;
        let offset = if kind & 0x04 != 0 { self.number()? } else { 0 };
        let length = if kind & 0x02 != 0 { self.number()? } else { self.0.len() as u64 };
        self.skip(length)?;
        Ok(PacketFrame::Stream { id, end: offset.saturating_add(length), length })
    }

    fn datagram(&mut self, has_length: bool) -> Result<PacketFrame, UnreadableFrame> {
        let length = if has_length { self.number()? } else { self.0.len() as u64 };
        self.skip(length)?;
        Ok(PacketFrame::Datagram(length))
    }

    fn number(&mut self) -> Result<u64, UnreadableFrame> {
        VarInt::decode(&mut self.0).map(VarInt::into_inner).map_err(|_| UnreadableFrame)
    }

    /// Bounded by the payload: each number takes at least one byte.
    fn skip_numbers(&mut self, count: u64) -> Result<(), UnreadableFrame> {
        for _ in 0..count {
            self.number()?;
        }
        Ok(())
    }

    fn skip_counted(&mut self) -> Result<(), UnreadableFrame> {
        let length = self.number()?;
        self.skip(length)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), UnreadableFrame> {
        let bytes = usize::try_from(bytes).map_err(|_| UnreadableFrame)?;
        self.0 = self.0.get(bytes..).ok_or(UnreadableFrame)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(payload: &[u8]) -> Result<Vec<PacketFrame>, UnreadableFrame> {
        let mut found = Vec::new();
        read_frames(payload, |frame| found.push(frame)).map(|()| found)
    }

    #[test]
    fn a_packet_of_many_frames_is_read() {
        let payload = [
            &[0x01][..],                                 // PING
            &[0x02, 0x09, 0x00, 0x01, 0x02, 0x00, 0x01], // ACK with two ranges
            &[0x04, 0x08, 0x06, 0x40, 0x64],             // RESET_STREAM
            &[0x40, 0xaf, 0x00, 0x10, 0x44, 0x00, 0x03], // ACK_FREQUENCY
            &[0x31, 0x03, b'a', b'b', b'c'],             // DATAGRAM with length
            &[0x0e, 0x04, 0x40, 0x64, 0x02, b'x', b'y'], // STREAM 4, offset 100, length 2
            &[0x09, 0x08, b'1', b'2', b'3'],             // STREAM 8, FIN, to the end
        ]
        .concat();
        let expected = vec![
            PacketFrame::Other,
            PacketFrame::Ack,
            PacketFrame::Other,
            PacketFrame::Other,
            PacketFrame::Datagram(3),
            PacketFrame::Stream { id: 4, end: 102, length: 2 },
            PacketFrame::Stream { id: 8, end: 3, length: 3 },
        ];
        assert_eq!(frames(&payload), Ok(expected));
        assert_eq!(frames(&[0, 0, 0]), Ok(vec![]), "padding");
        assert_eq!(frames(&[0x20]), Err(UnreadableFrame));
        assert_eq!(frames(&[0x0e, 0x04, 0x00, 0x09, 1]), Err(UnreadableFrame), "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = frames(&bytes);
        }
    }
}
