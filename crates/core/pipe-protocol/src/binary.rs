//! Frames of bytes: a length, a kind, and fields, all numbers big-endian (docs/spec/pipe.md, "Frames").

use crate::message::{Answer, ErrorCode, From, Key, Level, Message, Publication, Refusal, Request, SessionId, Topic};
use crate::reader::BadMessage;

/// The fields of a frame that was cut out of a stream.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadMessage> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(BadMessage::Cut)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        self.take(N)?.try_into().map_err(|_| BadMessage::Cut)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BadMessage> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, BadMessage> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadMessage> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadMessage> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, BadMessage> {
        let count = self.u16()?;
        std::str::from_utf8(self.take(usize::from(count))?).map_err(|_| BadMessage::Text)
    }

    fn topic(&mut self) -> Result<Topic, BadMessage> {
        Topic::new(self.text()?).map_err(BadMessage::Topic)
    }

    fn session(&mut self) -> Result<SessionId, BadMessage> {
        self.array().map(SessionId::from_bytes)
    }

    fn flag(&mut self) -> Result<bool, BadMessage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(BadMessage::Choice(other)),
        }
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, BadMessage>) -> Result<Option<T>, BadMessage> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// What is left, which is data.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Topics and keys are far below; an error's text is cut, at a character.
    let end = (0..=text.len().min(usize::from(u16::MAX))).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    out.extend_from_slice(&(end as u16).to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn put_optional<const N: usize>(out: &mut Vec<u8>, bytes: Option<[u8; N]>) {
    out.push(u8::from(bytes.is_some()));
    out.extend_from_slice(bytes.as_ref().map_or(&[], <[u8; N]>::as_slice));
}

/// Kinds of what a program says.
const HELLO: u8 = 1;
const PUBLISH: u8 = 2;
const SUBSCRIBE: u8 = 3;
const READ: u8 = 4;
const CREDIT: u8 = 5;

pub(crate) fn put_request(request: &Request, out: &mut Vec<u8>) {
    match request {
        Request::Hello { version, session } => {
            out.push(HELLO);
            out.extend_from_slice(&version.to_be_bytes());
            put_optional(out, session.map(SessionId::to_bytes));
        }
        Request::Publish(Publication { sequence, topic, data }) => {
            out.push(PUBLISH);
            out.extend_from_slice(&sequence.to_be_bytes());
            put_text(out, topic.as_str());
            out.extend_from_slice(data);
        }
        Request::Subscribe { topics, from } => {
            out.push(SUBSCRIBE);
            let (choice, offset) = match from {
                From::Offset(offset) => (0, *offset),
                From::Tail => (1, 0),
                From::Snapshot => (2, 0),
            };
            out.push(choice);
            out.extend_from_slice(&offset.to_be_bytes());
            for topic in topics {
                put_text(out, topic.as_str());
            }
        }
        Request::Read { id, key, level } => {
            out.push(READ);
            out.extend_from_slice(&id.to_be_bytes());
            out.push(u8::from(*level == Level::Linearizable));
            put_text(out, key.as_str());
        }
        Request::Credit { count } => {
            out.push(CREDIT);
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
}

pub(crate) fn request(fields: &mut Fields<'_>) -> Result<Request, BadMessage> {
    Ok(match fields.u8()? {
        HELLO => Request::Hello { version: fields.u32()?, session: fields.optional(Fields::session)? },
        PUBLISH => {
            let (sequence, topic) = (fields.u64()?, fields.topic()?);
            Request::Publish(Publication { sequence, topic, data: fields.rest() })
        }
        SUBSCRIBE => {
            let (choice, offset) = (fields.u8()?, fields.u64()?);
            let from = match choice {
                0 => From::Offset(offset),
                1 => From::Tail,
                2 => From::Snapshot,
                other => return Err(BadMessage::Choice(other)),
            };
            let mut topics = Vec::new();
            while !fields.0.is_empty() {
                topics.push(fields.topic()?);
            }
            Request::Subscribe { topics, from }
        }
        READ => {
            let id = fields.u64()?;
            let level = if fields.flag()? { Level::Linearizable } else { Level::Local };
            Request::Read { id, level, key: Key::new(fields.text()?).map_err(BadMessage::Key)? }
        }
        CREDIT => Request::Credit { count: fields.u32()? },
        other => return Err(BadMessage::Kind(other)),
    })
}

/// Kinds of what the node says.
const WELCOME: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const MESSAGE: u8 = 3;
const REACHED: u8 = 4;
const SNAPSHOT: u8 = 5;
const VALUE: u8 = 6;
const ERROR: u8 = 7;

pub(crate) fn put_answer(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::Welcome { session, next } => {
            out.push(WELCOME);
            out.extend_from_slice(&session.to_bytes());
            out.extend_from_slice(&next.to_be_bytes());
        }
        Answer::Acknowledged { sequence, offset, result } => {
            out.push(ACKNOWLEDGED);
            out.extend_from_slice(&sequence.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(result);
        }
        Answer::Message(message) => {
            out.push(MESSAGE);
            out.extend_from_slice(&message.offset.to_be_bytes());
            out.extend_from_slice(&message.origin.to_bytes());
            out.extend_from_slice(&message.time_s.to_be_bytes());
            put_text(out, message.topic.as_str());
            out.extend_from_slice(&message.data);
        }
        Answer::Reached { offset } => {
            out.push(REACHED);
            out.extend_from_slice(&offset.to_be_bytes());
        }
        Answer::Snapshot { offset, last, data } => {
            out.push(SNAPSHOT);
            out.extend_from_slice(&offset.to_be_bytes());
            out.push(u8::from(*last));
            out.extend_from_slice(data);
        }
        Answer::Value { id, offset, data } => {
            out.push(VALUE);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
            out.push(u8::from(data.is_some()));
            out.extend_from_slice(data.as_deref().unwrap_or_default());
        }
        Answer::Error(refusal) => {
            out.push(ERROR);
            out.push(refusal.code as u8);
            put_optional(out, refusal.about.map(u64::to_be_bytes));
            put_optional(out, refusal.expected.map(u64::to_be_bytes));
            put_optional(out, refusal.retry_ms.map(u32::to_be_bytes));
            put_text(out, &refusal.text);
        }
    }
}

pub(crate) fn answer(fields: &mut Fields<'_>) -> Result<Answer, BadMessage> {
    Ok(match fields.u8()? {
        WELCOME => Answer::Welcome { session: fields.session()?, next: fields.u64()? },
        ACKNOWLEDGED => Answer::Acknowledged { sequence: fields.u64()?, offset: fields.u64()?, result: fields.rest() },
        MESSAGE => {
            let (offset, origin, time_s) = (fields.u64()?, fields.session()?, fields.u64()?);
            Answer::Message(Message { offset, origin, time_s, topic: fields.topic()?, data: fields.rest() })
        }
        REACHED => Answer::Reached { offset: fields.u64()? },
        SNAPSHOT => Answer::Snapshot { offset: fields.u64()?, last: fields.flag()?, data: fields.rest() },
        VALUE => {
            let (id, offset) = (fields.u64()?, fields.u64()?);
            Answer::Value { id, offset, data: fields.optional(|fields| Ok(fields.rest()))? }
        }
        ERROR => {
            let code = fields.u8()?;
            let code = ErrorCode::ALL.iter().find(|(each, _)| *each as u8 == code).ok_or(BadMessage::Choice(code))?.0;
            let (about, expected) = (fields.optional(Fields::u64)?, fields.optional(Fields::u64)?);
            let retry_ms = fields.optional(Fields::u32)?;
            Answer::Error(Refusal { code, about, expected, retry_ms, text: fields.text()?.to_owned() })
        }
        other => return Err(BadMessage::Kind(other)),
    })
}
