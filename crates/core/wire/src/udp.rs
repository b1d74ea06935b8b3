//! An application's UDP datagram with its far address: what stands in a ring of a datagram flow and,
//! whole or in two parts, in session datagrams (docs/spec/session.md, "Datagrams").

use crate::flow::Destination;
use crate::read::{DecodeError, Reader};

/// Largest payload of an application's datagram: what UDP over IPv4 can carry.
pub const PAYLOAD_MAX: usize = 65_507;

/// Appends `destination | payload`.
pub fn encode(far: &Destination, payload: &[u8], out: &mut Vec<u8>) {
    far.encode(out);
    out.extend_from_slice(payload);
}

/// Splits what [`encode`] wrote into far address and payload.
pub fn decode(record: &[u8]) -> Result<(Destination, &[u8]), DecodeError> {
    let mut reader = Reader::new(record);
    let far = Destination::decode(&mut reader)?;
    let payload = reader.rest();
    if payload.len() > PAYLOAD_MAX {
        return Err(DecodeError::Range("datagram length"));
    }
    Ok((far, payload))
}
