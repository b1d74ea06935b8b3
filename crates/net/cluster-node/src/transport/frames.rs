//! Frames from and to QUIC streams.

use super::counters::Fault;
use super::event::LostReason;
use crate::frame::{Assembler, Frame, FrameError, Kind, MESSAGE_MAX, MessageParser, encode};
use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream};

/// Bytes that are taken from a stream at once.
const READ_MAX: usize = 64 * 1024;

/// Why a stream gives no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamError {
    /// What came is not what may come.
    Frame(FrameError),
    /// The peer cut the stream off, or it ended amid a message.
    Cut,
    /// The connection is over.
    Over,
}

impl From<FrameError> for StreamError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// What a bad frame counts as, and why its session ends.
pub(super) fn verdict(error: FrameError) -> (Fault, LostReason) {
    match error {
        FrameError::TooLong => (Fault::TooLong, LostReason::TooLong),
        _ => (Fault::Garbage, LostReason::Garbage),
    }
}

/// A stream, read as frames or as messages.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: RecvStream,
    parser: MessageParser,
    assembler: Assembler,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, parser: MessageParser::new(), assembler: Assembler::new(MESSAGE_MAX) }
    }

    /// The next frame; `None` at the stream's end.
    pub(super) async fn frame(&mut self) -> Result<Option<Frame>, StreamError> {
        loop {
            if let Some(frame) = self.parser.next() {
                return Ok(Some(frame?));
            }
            match self.stream.read_chunk(READ_MAX, true).await {
                Ok(Some(chunk)) => self.parser.append(&chunk.bytes),
                Ok(None) if self.parser.pending() > 0 || self.assembler.is_unfinished() => {
                    return Err(StreamError::Cut);
                }
                Ok(None) => return Ok(None),
                Err(ReadError::Reset(_) | ReadError::ClosedStream) => return Err(StreamError::Cut),
                Err(_) => return Err(StreamError::Over),
            }
        }
    }

    /// The next message; `None` at the stream's end.
    pub(super) async fn message(&mut self) -> Result<Option<Bytes>, StreamError> {
        while let Some(frame) = self.frame().await? {
            if let Some(message) = self.assembler.handle_frame(frame)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The next frame, which must be of this kind.
    pub(super) async fn expect(&mut self, kind: Kind) -> Result<Bytes, StreamError> {
        match self.frame().await? {
            Some(frame) if frame.kind == kind => Ok(frame.body),
            Some(_) => Err(FrameError::OutOfPlace.into()),
            None => Err(StreamError::Cut),
        }
    }
}

/// Sends one short frame.
pub(super) async fn write_frame(stream: &mut SendStream, kind: Kind, body: &[u8]) -> Result<(), quinn::WriteError> {
    let mut bytes = Vec::with_capacity(crate::frame::HEADER_LEN + body.len());
    encode(kind, body, &mut bytes);
    stream.write_all(&bytes).await
}
