//! Cuts a stream of bytes into messages.

use crate::binary::{self, Fields};
use crate::message::{Answer, DATA_BYTES_MAX, NameError, Request, SessionIdError};
use crate::text;
use std::marker::PhantomData;
use thiserror::Error;

/// What a program that speaks in frames sends first. It begins with a zero, which no line of JSON does.
pub const MAGIC: [u8; 8] = *b"\0HWPIPE1";
/// Bytes of a frame's length field.
const LENGTH_BYTES: usize = 4;
/// What stands around a message's data: topic, numbers, names of fields.
const AROUND_MAX: usize = 4096;
/// Bytes of a frame behind its length.
const FRAME_BYTES_MAX: usize = DATA_BYTES_MAX + AROUND_MAX;
/// Bytes of a line. JSON writes some bytes as six; a message that needs more room than base64 is better sent as that.
const LINE_BYTES_MAX: usize = DATA_BYTES_MAX / 3 * 4 + AROUND_MAX;
/// Read bytes in front of the next message are given back to the buffer once there are so many.
const READ_BYTES_KEPT: usize = 64 * 1024;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON, one message a line.
    Lines,
    /// Length, kind, fields.
    Frames,
}

/// Bytes that are no message.
#[derive(Debug, Error)]
pub enum BadMessage {
    /// No JSON, or not with these fields.
    #[error("{0}")]
    Json(#[source] serde_json::Error),
    /// A topic or key is none.
    #[error("topic or key: {0}")]
    Name(#[source] NameError),
    /// The session is none.
    #[error("session: {0}")]
    Session(#[source] SessionIdError),
    /// `b64` is no base64.
    #[error("b64: it is no base64 with padding")]
    Base64,
    /// Neither `data` nor `b64`.
    #[error("neither `data` nor `b64` is there")]
    NoData,
    /// Both `data` and `b64`.
    #[error("both `data` and `b64` are there")]
    Twice,
    /// No error has that code.
    #[error("code: no error has that name")]
    Code,
    /// A frame ends within a field.
    #[error("the frame ends within a field")]
    Cut,
    /// A text is no UTF-8.
    #[error("a text is no UTF-8")]
    Text,
    /// No message is of this kind.
    #[error("no message is of kind {0}")]
    Kind(u8),
    /// A field with few values has none of them.
    #[error("a field with few values has the value {0}")]
    Choice(u8),
}

/// Why there is no message.
#[derive(Debug, Error)]
pub enum ReadError {
    /// This message is none; those behind it count.
    #[error("line {line}: {why}")]
    Line {
        /// Which line of the connection, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        why: BadMessage,
    },
    /// This line is longer than lines may be; it is skipped to its end.
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    LongLine {
        /// Which line of the connection, from 1.
        line: u64,
    },
    /// The connection begins like one of frames, but goes on otherwise. Nothing more is read.
    #[error("a connection of frames begins with the eight bytes \\0HWPIPE1")]
    Magic,
    /// This frame is longer than frames may be. Nothing more is read.
    #[error("a frame of {bytes} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    LongFrame {
        /// Its length.
        bytes: u32,
    },
    /// This frame is no message. Nothing more is read.
    #[error("a frame that is no message: {0}")]
    Frame(#[source] BadMessage),
}

impl ReadError {
    /// Whether nothing more is read from the connection.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Line { .. } | Self::LongLine { .. })
    }
}

/// What a [`Reader`] reads.
pub trait Readable: Sized {
    /// Whether the stream begins with [`MAGIC`] if it is one of frames.
    const ANNOUNCED: bool;
    /// From a line without its end.
    fn from_line(line: &[u8]) -> Result<Self, BadMessage>;
    /// From a frame without its length.
    fn from_frame(frame: &[u8]) -> Result<Self, BadMessage>;
    /// Its line or its frame, behind what `out` holds.
    fn put(&self, form: Form, out: &mut Vec<u8>);
}

impl Readable for Request {
    const ANNOUNCED: bool = true;

    fn from_line(line: &[u8]) -> Result<Self, BadMessage> {
        text::request(line)
    }

    fn from_frame(frame: &[u8]) -> Result<Self, BadMessage> {
        whole(frame, binary::request)
    }

    fn put(&self, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Lines => text::put_request(self, out),
            Form::Frames => put_frame(out, |out| binary::put_request(self, out)),
        }
    }
}

impl Readable for Answer {
    const ANNOUNCED: bool = false;

    fn from_line(line: &[u8]) -> Result<Self, BadMessage> {
        text::answer(line)
    }

    fn from_frame(frame: &[u8]) -> Result<Self, BadMessage> {
        whole(frame, binary::answer)
    }

    fn put(&self, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Lines => text::put_answer(self, out),
            Form::Frames => put_frame(out, |out| binary::put_answer(self, out)),
        }
    }
}

fn whole<T>(frame: &[u8], read: impl Fn(&mut Fields<'_>) -> Result<T, BadMessage>) -> Result<T, BadMessage> {
    let mut fields = Fields(frame);
    let message = read(&mut fields)?;
    if fields.0.is_empty() { Ok(message) } else { Err(BadMessage::Cut) }
}

fn put_frame(out: &mut Vec<u8>, put: impl Fn(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put(out);
    let bytes = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&bytes.to_be_bytes());
}

/// The bytes of a message in a form; a program that speaks in frames sends [`MAGIC`] before its first.
pub fn encode<M: Readable>(message: &M, form: Form, out: &mut Vec<u8>) {
    message.put(form, out);
}

/// Cuts what one side says into messages: push bytes as they come, take messages until there is none. It holds at most one
/// message and what was pushed behind it, so push in pieces of some kilobytes.
#[derive(Debug)]
pub struct Reader<M> {
    form: Option<Form>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are read.
    start: usize,
    /// Bytes of the buffer in which no line ends.
    searched: usize,
    line: u64,
    is_skipping: bool,
    is_over: bool,
    messages: PhantomData<fn() -> M>,
}

impl<M: Readable> Reader<M> {
    /// For a stream whose first byte tells its form.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// For a stream of a known form, without [`MAGIC`].
    pub fn with_form(form: Form) -> Self {
        Self::with(Some(form))
    }

    fn with(form: Option<Form>) -> Self {
        let messages = PhantomData;
        Self { form, buffer: Vec::new(), start: 0, searched: 0, line: 1, is_skipping: false, is_over: false, messages }
    }

    /// How messages are written, once the first byte is known.
    pub fn form(&self) -> Option<Form> {
        self.form
    }

    /// Bytes that are held and not yet read.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        if self.start == self.buffer.len() || self.start >= READ_BYTES_KEPT {
            self.buffer.drain(..self.start);
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, or what is in its place.
    pub fn next_message(&mut self) -> Option<Result<M, ReadError>> {
        let found = match self.choose_form()? {
            Ok(Form::Lines) => self.next_line(),
            Ok(Form::Frames) => self.next_frame(),
            Err(error) => Some(Err(error)),
        };
        if matches!(&found, Some(Err(error)) if error.is_final()) {
            self.is_over = true;
            self.buffer = Vec::new();
            self.start = 0;
        }
        found
    }

    fn choose_form(&mut self) -> Option<Result<Form, ReadError>> {
        if let Some(form) = self.form {
            return Some(Ok(form));
        }
        let unread = &self.buffer[self.start..];
        if *unread.first()? != MAGIC[0] || !M::ANNOUNCED {
            return Some(Ok(*self.form.insert(Form::Lines)));
        }
        if !MAGIC.starts_with(&unread[..unread.len().min(MAGIC.len())]) {
            return Some(Err(ReadError::Magic));
        }
        if unread.len() < MAGIC.len() {
            return None;
        }
        self.start += MAGIC.len();
        Some(Ok(*self.form.insert(Form::Frames)))
    }

    fn next_line(&mut self) -> Option<Result<M, ReadError>> {
        loop {
            self.searched = self.searched.max(self.start);
            let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return self.refuse_long_line();
            };
            let (begin, end, line) = (self.start, self.searched + length, self.line);
            self.start = end + 1;
            self.line += 1;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            if end - begin > LINE_BYTES_MAX {
                return Some(Err(ReadError::LongLine { line }));
            }
            let said = self.buffer[begin..end].trim_ascii();
            if !said.is_empty() {
                return Some(M::from_line(said).map_err(|why| ReadError::Line { line, why }));
            }
        }
    }

    /// A line without an end so far.
    fn refuse_long_line(&mut self) -> Option<Result<M, ReadError>> {
        if self.is_skipping || self.held_bytes() > LINE_BYTES_MAX {
            self.start = self.buffer.len();
            let was_skipping = std::mem::replace(&mut self.is_skipping, true);
            return (!was_skipping).then_some(Err(ReadError::LongLine { line: self.line }));
        }
        None
    }

    fn next_frame(&mut self) -> Option<Result<M, ReadError>> {
        let unread = &self.buffer[self.start..];
        let (length, rest) = unread.split_first_chunk::<LENGTH_BYTES>()?;
        let bytes = u32::from_be_bytes(*length);
        if bytes as usize > FRAME_BYTES_MAX {
            return Some(Err(ReadError::LongFrame { bytes }));
        }
        let frame = rest.get(..bytes as usize)?;
        let message = M::from_frame(frame).map_err(ReadError::Frame);
        self.start += LENGTH_BYTES + bytes as usize;
        Some(message)
    }
}

impl<M: Readable> Default for Reader<M> {
    fn default() -> Self {
        Self::new()
    }
}
