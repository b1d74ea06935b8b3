//! Datagrams in a byte ring: `length 2 | record`, where the record is one of [`wire::udp`]. Written whole or not
//! at all.

use crate::port::FlowPort;
use bytes::Bytes;
use thiserror::Error;

/// Bytes of the length in front of a record.
pub const LENGTH_LEN: usize = 2;

/// The other process announced a record that no ring can hold: the flow cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a datagram record is longer than its ring")]
pub struct RecordTooLong;

/// Writes a record into the out-ring. False: there is no room (or never will be), the datagram is dropped.
#[must_use]
pub fn write(port: &FlowPort, record: &[u8]) -> bool {
    let Ok(length) = u16::try_from(record.len()) else { return false };
    port.write_all(&[&length.to_be_bytes(), record])
}

/// Takes the next whole record from the in-ring. `None`: there is none yet.
pub fn read(port: &FlowPort) -> Result<Option<Bytes>, RecordTooLong> {
    let head = port.peek(LENGTH_LEN);
    let Some(length) = head.first_chunk::<LENGTH_LEN>().map(|bytes| usize::from(u16::from_be_bytes(*bytes))) else {
        return Ok(None);
    };
    if LENGTH_LEN + length > port.ring_size() {
        return Err(RecordTooLong);
    }
    if port.unread() < LENGTH_LEN + length {
        return Ok(None);
    }
    let whole = port.read(LENGTH_LEN + length);
    Ok((whole.len() == LENGTH_LEN + length).then(|| whole.slice(LENGTH_LEN..)))
}
