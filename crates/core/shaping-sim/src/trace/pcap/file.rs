//! The file: a header of 24 bytes, then records of 16 bytes and what was captured of a packet.

use super::PcapError;
use std::time::Duration;

const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 16;
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The first block of pcapng begins with this, in either byte order.
const MAGIC_PCAPNG: u32 = 0x0a0d_0d0a;
/// The most that libpcap writes of a packet (MAXIMUM_SNAPLEN).
const CAPTURED_MAX: u32 = 262_144;

/// What the whole file has in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) link_type: u32,
}

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// As the file says, since 1970 or any other moment.
    pub(super) at: Duration,
    /// On the network, in bytes.
    pub(super) length: u32,
    pub(super) captured: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Format {
    is_big_endian: bool,
    nanoseconds_per_unit: u32,
}

/// The records that are left.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    format: Format,
    number: usize,
}

/// Reads the header.
pub(super) fn open(file: &[u8]) -> Result<(Header, Records<'_>), PcapError> {
    let magic = file.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(PcapError::NotPcap)?;
    let format = |is_big_endian, nanoseconds_per_unit| Format { is_big_endian, nanoseconds_per_unit };
    let format = match magic {
        MAGIC_PCAPNG => return Err(PcapError::Pcapng),
        MAGIC_MICROSECONDS => format(true, 1_000),
        MAGIC_NANOSECONDS => format(true, 1),
        other if other.swap_bytes() == MAGIC_MICROSECONDS => format(false, 1_000),
        other if other.swap_bytes() == MAGIC_NANOSECONDS => format(false, 1),
        _ => return Err(PcapError::NotPcap),
    };
    let (header, rest) = file.split_at_checked(HEADER_LEN).ok_or(PcapError::NotPcap)?;
    // The upper bits say how long a frame check sequence is.
    let link_type = word(header, 20, format) & 0xffff;
    Ok((Header { link_type }, Records { rest, format, number: 0 }))
}

impl<'a> Records<'a> {
    /// The next packet; none at the end, or where the file is cut.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'a>>, PcapError> {
        let Some((head, behind)) = self.rest.split_at_checked(RECORD_LEN) else { return Ok(None) };
        self.number += 1;
        let captured = word(head, 8, self.format);
        if captured > CAPTURED_MAX {
            return Err(PcapError::Packet(self.number));
        }
        let Some((captured, rest)) = behind.split_at_checked(captured as usize) else { return Ok(None) };
        self.rest = rest;
        // Files with more than a second of fraction exist; they mean the sum.
        let fraction = u64::from(word(head, 4, self.format)) * u64::from(self.format.nanoseconds_per_unit);
        let at = Duration::from_secs(word(head, 0, self.format).into()) + Duration::from_nanos(fraction);
        Ok(Some(Record { at, length: word(head, 12, self.format), captured }))
    }

    /// Whether bytes are left that make no whole record.
    pub(super) fn is_cut(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// Four bytes of a head that is long enough.
fn word(head: &[u8], at: usize, format: Format) -> u32 {
    let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
    if format.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
