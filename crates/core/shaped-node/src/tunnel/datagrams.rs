//! Datagram flows: rings carry `length 2 | record` all-or-nothing; what does not fit is dropped and counted.

use super::outbound::Turn;
use crate::near::Near;
use crate::queues::{FlowQueues, QueueFault};
use bytes::Bytes;
use session::{DatagramError, FlowId, Session};
use std::time::Instant;

/// Bytes of the length before each record.
const LENGTH_LEN: usize = 2;

/// Puts a record that came from the other node into the ring.
pub(super) fn deliver<Q: FlowQueues>(index: u16, record: &[u8], near: &mut Near<Q>) {
    let Ok(length) = u16::try_from(record.len()) else {
        near.datagrams_dropped += 1;
        return;
    };
    let fits = near.with(|queues| {
        let fits = queues.writable(index)? >= LENGTH_LEN + record.len();
        if fits {
            let mut framed = Vec::with_capacity(LENGTH_LEN + record.len());
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(record);
            queues.write(index, &framed)?;
        }
        Ok(fits)
    });
    if fits == Some(false) {
        near.datagrams_dropped += 1;
    }
}

/// Sends the next record of a ring. One record is one turn.
pub(super) fn send<Q: FlowQueues>(
    session: &mut Session,
    now: Instant,
    far: FlowId,
    index: u16,
    near: &mut Near<Q>,
) -> Turn {
    let Some(record) = near.with(|queues| next_record(queues, index)).flatten() else { return Turn::Idle };
    let past = LENGTH_LEN + record.len();
    if past > near.may_leave(index) {
        return Turn::Idle;
    }
    match session.send_datagram(now, far, &record) {
        Err(DatagramError::Full) => return Turn::Full,
        Err(DatagramError::TooLarge | DatagramError::UnknownFlow) => near.datagrams_dropped += 1,
        Ok(()) => {}
    }
    near.take_out(now, index, past as u64);
    Turn::More
}

/// The record at the front of a ring; it stays there. A length without its record breaks the protocol,
/// since records are published whole.
fn next_record<Q: FlowQueues>(queues: &mut Q, index: u16) -> Result<Option<Bytes>, QueueFault> {
    let waiting = queues.readable(index)?;
    if waiting == 0 {
        return Ok(None);
    }
    let head = queues.peek(index, LENGTH_LEN)?;
    let length = <[u8; LENGTH_LEN]>::try_from(&head[..]).map_err(|_| QueueFault::Position)?;
    let length = usize::from(u16::from_be_bytes(length));
    if waiting < LENGTH_LEN + length {
        return Err(QueueFault::Position);
    }
    let framed = queues.peek(index, LENGTH_LEN + length)?;
    Ok(Some(framed.slice(LENGTH_LEN..)))
}
