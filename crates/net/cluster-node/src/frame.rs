//! Frames: what the bytes between two members are, whatever stream they come in. docs/spec/cluster-wire.md.
//!
//! `length 4 | kind 1 | version 1 | body`, the length counting kind, version and body. Nothing here waits, allocates by
//! what a peer claims, or looks at a byte twice.

mod assembler;

pub use assembler::{Assembler, encode_message};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Version of every frame. Another version is another wire, and refused.
pub const VERSION: u8 = 1;

/// Bytes in front of a frame's body.
pub const HEADER_LEN: usize = 6;

/// Longest body of a frame, in bytes. A longer length ends the connection before anything of it is stored.
pub const BODY_MAX: usize = 256 * 1024;

/// Longest message that is put together from several frames, in bytes. A longer one is not sent, and ends the connection
/// when it is announced.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// Bytes of the length field.
const LENGTH_LEN: usize = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of whoever dials: [`Hello`].
    Hello = 1,
    /// The answer to it: 8 bytes, the session's number.
    Welcome = 2,
    /// A whole message.
    Message = 3,
    /// The beginning of a message that is longer than a frame: its length in 4 bytes, then its first bytes.
    First = 4,
    /// Its next bytes.
    More = 5,
    /// The first frame of a stream that carries one client: 8 bytes, the number that its opener gave it.
    Open = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Hello, Self::Welcome, Self::Message, Self::First, Self::More, Self::Open];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Bytes that are no frames. The peer is at fault, and its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A body above [`BODY_MAX`], or a message above the cap.
    #[error("a length is beyond what either end may send")]
    TooLong,
    /// A length that does not even cover kind and version.
    #[error("a frame is shorter than its header")]
    TooShort,
    /// A kind that this version does not know.
    #[error("a frame is of an unknown kind")]
    UnknownKind,
    /// Another version of the frames.
    #[error("a frame is of another version")]
    Version,
    /// A frame that cannot stand where it stands, or a body of the wrong form.
    #[error("a frame is out of place")]
    OutOfPlace,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it carries, at most [`BODY_MAX`] bytes.
    pub body: Bytes,
}

/// Appends the header of a frame whose body is `body_len` bytes long.
///
/// # Panics
/// When it is longer than [`BODY_MAX`]: the caller cuts messages first.
pub fn encode_header(kind: Kind, body_len: usize, out: &mut Vec<u8>) {
    assert!(body_len <= BODY_MAX, "a body of {body_len} bytes does not fit a frame");
    let length = u32::try_from(body_len + HEADER_LEN - LENGTH_LEN).expect("it was checked against a smaller bound");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[kind as u8, VERSION]);
}

/// Appends a whole frame; the body must not be longer than [`BODY_MAX`].
pub fn encode(kind: Kind, body: &[u8], out: &mut Vec<u8>) {
    encode_header(kind, body.len(), out);
    out.extend_from_slice(body);
}

/// Makes frames of a stream's bytes, in whatever pieces they come: append some, then iterate until nothing is left.
///
/// It looks at each byte once, holds at most one unfinished frame beside what was appended last, and after an error gives
/// nothing more.
#[derive(Debug, Default)]
pub struct MessageParser {
    buffer: BytesMut,
    failed: Option<FrameError>,
}

impl MessageParser {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Bytes behind an error are dropped.
    pub fn append(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        // Judged as soon as it is there: what it announces is never waited for.
        if length < HEADER_LEN - LENGTH_LEN {
            return Err(FrameError::TooShort);
        }
        if length > BODY_MAX + HEADER_LEN - LENGTH_LEN {
            return Err(FrameError::TooLong);
        }
        let Some(&[kind, version]) = self.buffer.get(LENGTH_LEN..).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(FrameError::Version);
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind)?;
        if self.buffer.len() < LENGTH_LEN + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(LENGTH_LEN + length);
        frame.advance(HEADER_LEN);
        Ok(Some(Frame { kind, body: frame.freeze() }))
    }
}

impl Iterator for MessageParser {
    type Item = Result<Frame, FrameError>;

    /// The next whole frame, or the error that ends the stream, once. `None`: append more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed.is_some() {
            return None;
        }
        match self.read() {
            Ok(frame) => frame.map(Ok),
            Err(error) => {
                self.failed = Some(error);
                self.buffer = BytesMut::new();
                Some(Err(error))
            }
        }
    }
}

/// What whoever dials says first: for whom, from whom, in which cluster, and at least which number the session shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The cluster.
    pub cluster: [u8; 32],
    /// Who dials.
    pub from: [u8; 32],
    /// Whom it wants to reach.
    pub to: [u8; 32],
    /// The answer gives a number that is at least this one.
    pub session: u64,
}

impl Hello {
    /// Bytes of its body.
    pub const LEN: usize = 104;

    /// The body of its frame.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut body = [0; Self::LEN];
        body[..32].copy_from_slice(&self.cluster);
        body[32..64].copy_from_slice(&self.from);
        body[64..96].copy_from_slice(&self.to);
        body[96..].copy_from_slice(&self.session.to_be_bytes());
        body
    }

    /// Reads what [`Hello::encode`] wrote.
    ///
    /// # Errors
    /// When the body has another length.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        if body.len() != Self::LEN {
            return Err(FrameError::OutOfPlace);
        }
        let part = |at: usize| -> [u8; 32] { body[at..at + 32].try_into().expect("the length is checked") };
        Ok(Self { cluster: part(0), from: part(32), to: part(64), session: decode_number(&body[96..])? })
    }
}

/// The number in the body of a [`Kind::Welcome`] or [`Kind::Open`].
///
/// # Errors
/// When the body is not 8 bytes long.
pub fn decode_number(body: &[u8]) -> Result<u64, FrameError> {
    body.try_into().map(u64::from_be_bytes).map_err(|_| FrameError::OutOfPlace)
}

#[cfg(test)]
mod tests;
