//! Messages longer than a frame: cut into frames by the sender, put together by the receiver.

use super::{BODY_MAX, Frame, FrameError, Kind, encode, encode_header};
use bytes::Bytes;

/// Bytes in front of a [`Kind::First`] frame's piece: the message's length.
const TOTAL_LEN: usize = 4;

/// Appends a message as one frame, or as many as it needs.
///
/// # Panics
/// When it is longer than 4 GiB; callers have a far smaller cap.
pub fn encode_message(message: &[u8], out: &mut Vec<u8>) {
    if message.len() <= BODY_MAX {
        return encode(Kind::Message, message, out);
    }
    let total = u32::try_from(message.len()).expect("the caller's cap is far below 4 GiB");
    let (first, rest) = message.split_at(BODY_MAX - TOTAL_LEN);
    encode_header(Kind::First, BODY_MAX, out);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(first);
    for piece in rest.chunks(BODY_MAX) {
        encode(Kind::More, piece, out);
    }
}

/// Puts the messages of one stream together. What it holds grows with what has come, never with what is announced.
#[derive(Debug)]
pub struct Assembler {
    cap: usize,
    unfinished: Option<Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    total: usize,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Refuses messages above `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Self { cap, unfinished: None }
    }

    /// Takes the stream's next frame; gives a message when it is whole.
    ///
    /// # Errors
    /// For a message above the cap, pieces that do not add up, and kinds that carry no messages.
    pub fn handle_frame(&mut self, frame: Frame) -> Result<Option<Bytes>, FrameError> {
        match (frame.kind, self.unfinished.take()) {
            (Kind::Message, None) if frame.body.len() > self.cap => Err(FrameError::TooLong),
            (Kind::Message, None) => Ok(Some(frame.body)),
            (Kind::First, None) => self.begin(&frame.body),
            (Kind::More, Some(unfinished)) => self.go_on(unfinished, &frame.body),
            _ => Err(FrameError::OutOfPlace),
        }
    }

    /// Whether a message has begun and is not whole.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    fn begin(&mut self, body: &[u8]) -> Result<Option<Bytes>, FrameError> {
        let (total, piece) = body.split_first_chunk::<TOTAL_LEN>().ok_or(FrameError::OutOfPlace)?;
        let total = u32::from_be_bytes(*total) as usize;
        if total > self.cap {
            return Err(FrameError::TooLong);
        }
        // One way to say a thing: what fits a frame is not cut, and what is cut fills its first frame.
        if total <= BODY_MAX || piece.len() != BODY_MAX - TOTAL_LEN {
            return Err(FrameError::OutOfPlace);
        }
        self.unfinished = Some(Unfinished { total, bytes: piece.to_vec() });
        Ok(None)
    }

    fn go_on(&mut self, mut unfinished: Unfinished, piece: &[u8]) -> Result<Option<Bytes>, FrameError> {
        let missing = unfinished.total - unfinished.bytes.len();
        if piece.len() != missing.min(BODY_MAX) {
            return Err(FrameError::OutOfPlace);
        }
        unfinished.bytes.extend_from_slice(piece);
        if unfinished.bytes.len() == unfinished.total {
            return Ok(Some(unfinished.bytes.into()));
        }
        self.unfinished = Some(unfinished);
        Ok(None)
    }
}
