//! Control messages: what a client and one hop say to each other inside the layers (docs/spec/onion.md, "Control messages").

use crate::parts::{PART_HEAD_LEN, Part};
use crate::reason::Reason;
use crate::service::Ask;
use identity::NodeId;
use wire::read::{DecodeError, Reader};

/// Bytes of kind and request in front of each message.
const HEAD_LEN: usize = 5;
/// Bytes of a node id.
const NODE_ID_LEN: usize = 32;
/// Bytes in a control cell's body that are not the part's.
pub(crate) const EXTEND_OVERHEAD: usize = HEAD_LEN;

/// Numbers the requests of one circuit, from 1. A hop takes a request with a number above the last one as new, repeats its
/// answer to the last one, and ignores those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct RequestNumber(pub(crate) u32);

impl RequestNumber {
    /// In answers that nobody asked for.
    pub(crate) const UNASKED: Self = Self(0);
}

/// What a client asks of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Carry this part of node id and first message to the hop behind you.
    Extend(Part<'a>),
    /// Cut off what is behind you.
    Truncate,
    /// Serve two clients that meet at you, with what this is a part of.
    Ask(Ask, Part<'a>),
    /// What you passed on has come: the number is that of [`Reply::Passed`], not of a request.
    Received,
}

/// What a hop says to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// A part of the second message of the hop behind it.
    Extended(Part<'a>),
    /// There is nothing behind it: as asked, or because it was lost.
    Truncated(Reason),
    /// It cannot extend, or does not do what it was asked.
    Refused(Reason),
    /// It does what it was asked, or has done it.
    Done,
    /// A part of what the client of another circuit says.
    Passed(Part<'a>),
}

const EXTEND: u8 = 1;
const EXTENDED: u8 = 2;
const TRUNCATE: u8 = 3;
const TRUNCATED: u8 = 4;
const REFUSED: u8 = 5;
const RECEIVED: u8 = 10;
const DONE: u8 = 11;
const PASSED: u8 = 12;

impl<'a> Request<'a> {
    /// Writes the message into the whole body of a control cell.
    pub(crate) fn write(&self, number: RequestNumber, body: &mut [u8]) {
        match self {
            Self::Extend(part) => part.write(head(EXTEND, number, body)),
            Self::Truncate => head(TRUNCATE, number, body).fill(0),
            Self::Ask(ask, part) => part.write(head(*ask as u8, number, body)),
            Self::Received => head(RECEIVED, number, body).fill(0),
        }
    }

    /// Reads the body of a control cell.
    pub(crate) fn read(body: &'a [u8]) -> Result<(RequestNumber, Self), DecodeError> {
        let mut reader = Reader::new(body);
        let (kind, number) = (reader.u8()?, RequestNumber(reader.u32()?));
        if number == RequestNumber::UNASKED {
            return Err(DecodeError::Range("request number"));
        }
        let request = match kind {
            EXTEND => Self::Extend(Part::read(reader.rest())?),
            TRUNCATE => Self::Truncate,
            RECEIVED => Self::Received,
            kind => {
                let ask = Ask::new(kind).ok_or(DecodeError::Unknown("request"))?;
                Self::Ask(ask, Part::read(reader.rest())?)
            }
        };
        Ok((number, request))
    }
}

impl<'a> Reply<'a> {
    /// Writes the message into the whole body of a control cell.
    pub(crate) fn write(&self, number: RequestNumber, body: &mut [u8]) {
        let (kind, reason) = match self {
            Self::Extended(part) => return part.write(head(EXTENDED, number, body)),
            Self::Passed(part) => return part.write(head(PASSED, number, body)),
            Self::Done => return head(DONE, number, body).fill(0),
            Self::Truncated(reason) => (TRUNCATED, *reason),
            Self::Refused(reason) => (REFUSED, *reason),
        };
        let rest = head(kind, number, body);
        rest.fill(0);
        rest[0] = reason as u8;
    }

    /// Reads the body of a control cell.
    pub(crate) fn read(body: &'a [u8]) -> Result<(RequestNumber, Self), DecodeError> {
        let mut reader = Reader::new(body);
        let (kind, number) = (reader.u8()?, RequestNumber(reader.u32()?));
        let reply = match kind {
            EXTENDED => Self::Extended(Part::read(reader.rest())?),
            TRUNCATED => Self::Truncated(Reason::from(reader.u8()?)),
            REFUSED => Self::Refused(Reason::from(reader.u8()?)),
            DONE => Self::Done,
            PASSED => Self::Passed(Part::read(reader.rest())?),
            _ => return Err(DecodeError::Unknown("reply")),
        };
        Ok((number, reply))
    }
}

fn head(kind: u8, number: RequestNumber, body: &mut [u8]) -> &mut [u8] {
    let (head, rest) = body.split_at_mut(HEAD_LEN);
    head[0] = kind;
    head[1..].copy_from_slice(&number.0.to_be_bytes());
    rest
}

/// What the parts of an extend make: whom to extend to, and the first message for it.
pub(crate) fn extend_message(node: &NodeId, first: &[u8]) -> Vec<u8> {
    [&node.0, first].concat()
}

/// Reads what the parts of an extend made.
pub(crate) fn read_extend_message(message: &[u8]) -> Result<(NodeId, &[u8]), DecodeError> {
    let (node, first) = message.split_first_chunk::<NODE_ID_LEN>().ok_or(DecodeError::Truncated)?;
    Ok((NodeId(*node), first))
}

/// The smallest body that holds every message but parts.
const _: () = assert!(HEAD_LEN + PART_HEAD_LEN < 64, "a body has more than a kilobyte");

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part<'static> {
        Part { index: 1, count: 2, bytes: b"half" }
    }

    #[test]
    fn every_message_survives_a_round_trip() {
        let asks = Ask::ALL.map(|ask| Request::Ask(ask, part()));
        for request in asks.into_iter().chain([Request::Extend(part()), Request::Truncate, Request::Received]) {
            let mut body = [0xee; 64];
            request.write(RequestNumber(7), &mut body);
            assert_eq!(Request::read(&body), Ok((RequestNumber(7), request)));
        }
        let reasons = Reason::ALL.iter().flat_map(|reason| [Reply::Truncated(*reason), Reply::Refused(*reason)]);
        for reply in reasons.chain([Reply::Extended(part()), Reply::Passed(part()), Reply::Done]) {
            let mut body = [0xee; 64];
            reply.write(RequestNumber(0xffff_ffff), &mut body);
            assert_eq!(Reply::read(&body), Ok((RequestNumber(0xffff_ffff), reply)));
        }
    }

    /// The example of docs/spec/onion.md.
    #[test]
    fn the_layout_is_that_of_the_specification() {
        let mut body = [0xee; 14];
        Request::Extend(part()).write(RequestNumber(0x0102_0304), &mut body);
        assert_eq!(body, [1, 1, 2, 3, 4, 0x12, 0, 4, b'h', b'a', b'l', b'f', 0, 0]);
        Reply::Truncated(Reason::LinkDown).write(RequestNumber(2), &mut body);
        assert_eq!(body, [4, 0, 0, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        Request::Ask(Ask::Introduce, part()).write(RequestNumber(3), &mut body);
        assert_eq!(body, [8, 0, 0, 0, 3, 0x12, 0, 4, b'h', b'a', b'l', b'f', 0, 0]);
        Request::Received.write(RequestNumber(4), &mut body);
        assert_eq!(body, [10, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(Request::read(&[2, 0, 0, 0, 1, 0]), Err(DecodeError::Unknown("request")));
        assert_eq!(Request::read(&[3, 0, 0, 0, 0]), Err(DecodeError::Range("request number")));
        assert_eq!(Request::read(&[3, 0, 0, 0]), Err(DecodeError::Truncated));
        assert_eq!(Reply::read(&[1, 0, 0, 0, 1, 0]), Err(DecodeError::Unknown("reply")));
        assert_eq!(Reply::read(&[4, 0, 0, 0, 1]), Err(DecodeError::Truncated));
        assert!(read_extend_message(&[0; 31]).is_err());
    }
}
