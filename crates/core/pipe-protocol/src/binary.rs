//! Frames of bytes: a length, a kind, and fields, all numbers big-endian (docs/spec/pipe.md, "Frames").

use crate::message::{
    Answer, Effect, ErrorCode, From, Level, Message, Name, Of, Order, Refusal, Request, SessionId, Submission,
};
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

    fn name(&mut self) -> Result<Name, BadMessage> {
        Name::new(self.text()?).map_err(BadMessage::Name)
    }

    /// Data that may be missing, at the end of a frame.
    fn optional_rest(&mut self) -> Result<Option<Vec<u8>>, BadMessage> {
        self.optional(|fields| Ok(fields.rest()))
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

fn put_data(out: &mut Vec<u8>, data: Option<&[u8]>) {
    out.push(u8::from(data.is_some()));
    out.extend_from_slice(data.unwrap_or_default());
}

/// Kinds of what a program says.
const HELLO: u8 = 1;
const PUBLISH: u8 = 2;
const SUBSCRIBE: u8 = 3;
const READ: u8 = 4;
const CREDIT: u8 = 5;
const PUT: u8 = 6;
const CALL: u8 = 7;

pub(crate) fn put_request(request: &Request, out: &mut Vec<u8>) {
    match request {
        Request::Hello { version, session } => {
            out.push(HELLO);
            out.extend_from_slice(&version.to_be_bytes());
            put_optional(out, session.map(SessionId::to_bytes));
        }
        Request::Submit(Submission { sequence, order }) => put_order(*sequence, order, out),
        Request::Subscribe { of, names, from } => {
            out.push(SUBSCRIBE);
            out.push(u8::from(*of == Of::Keys));
            let (choice, offset) = match from {
                From::Offset(offset) => (0, *offset),
                From::Tail => (1, 0),
                From::Oldest => (2, 0),
            };
            out.push(choice);
            out.extend_from_slice(&offset.to_be_bytes());
            for name in names {
                put_text(out, name.as_str());
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

fn put_order(sequence: u64, order: &Order, out: &mut Vec<u8>) {
    out.push(match order {
        Order::Publish { .. } => PUBLISH,
        Order::Put { .. } => PUT,
        Order::Call { .. } => CALL,
    });
    out.extend_from_slice(&sequence.to_be_bytes());
    match order {
        Order::Publish { topic, data } => {
            put_text(out, topic.as_str());
            out.extend_from_slice(data);
        }
        Order::Put { key, value, if_version } => {
            put_text(out, key.as_str());
            put_optional(out, if_version.map(u64::to_be_bytes));
            put_data(out, value.as_deref());
        }
        Order::Call { app, data } => {
            out.extend_from_slice(&app.to_be_bytes());
            out.extend_from_slice(data);
        }
    }
}

pub(crate) fn request(fields: &mut Fields<'_>) -> Result<Request, BadMessage> {
    Ok(match fields.u8()? {
        HELLO => Request::Hello { version: fields.u32()?, session: fields.optional(Fields::session)? },
        PUBLISH => {
            let (sequence, topic) = (fields.u64()?, fields.name()?);
            Request::Submit(Submission { sequence, order: Order::Publish { topic, data: fields.rest() } })
        }
        PUT => {
            let (sequence, key, if_version) = (fields.u64()?, fields.name()?, fields.optional(Fields::u64)?);
            let order = Order::Put { key, if_version, value: fields.optional_rest()? };
            Request::Submit(Submission { sequence, order })
        }
        CALL => {
            let (sequence, app) = (fields.u64()?, fields.u16()?);
            Request::Submit(Submission { sequence, order: Order::Call { app, data: fields.rest() } })
        }
        SUBSCRIBE => {
            let of = if fields.flag()? { Of::Keys } else { Of::Topics };
            let (choice, offset) = (fields.u8()?, fields.u64()?);
            let from = match choice {
                0 => From::Offset(offset),
                1 => From::Tail,
                2 => From::Oldest,
                other => return Err(BadMessage::Choice(other)),
            };
            let mut names = Vec::new();
            while !fields.0.is_empty() {
                names.push(fields.name()?);
            }
            Request::Subscribe { of, names, from }
        }
        READ => {
            let id = fields.u64()?;
            let level = if fields.flag()? { Level::Linearizable } else { Level::Local };
            Request::Read { id, level, key: fields.name()? }
        }
        CREDIT => Request::Credit { count: fields.u32()? },
        other => return Err(BadMessage::Kind(other)),
    })
}

/// Kinds of what the node says.
const WELCOME: u8 = 1;
const PUBLISHED: u8 = 2;
const MESSAGE: u8 = 3;
const REACHED: u8 = 4;
const CHANGED: u8 = 5;
const VALUE: u8 = 6;
const ERROR: u8 = 7;
const DIFFERS: u8 = 8;
const CALLED: u8 = 9;

pub(crate) fn put_answer(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::Welcome { session, next } => {
            out.push(WELCOME);
            out.extend_from_slice(&session.to_bytes());
            out.extend_from_slice(&next.to_be_bytes());
        }
        Answer::Done { sequence, offset, effect } => put_effect(*sequence, *offset, effect, out),
        Answer::Message(message) => {
            out.push(MESSAGE);
            out.extend_from_slice(&message.offset.to_be_bytes());
            out.extend_from_slice(&message.number.to_be_bytes());
            out.extend_from_slice(&message.origin.to_bytes());
            out.extend_from_slice(&message.time_s.to_be_bytes());
            put_text(out, message.name.as_str());
            put_data(out, message.data.as_deref());
        }
        Answer::Reached { offset } => {
            out.push(REACHED);
            out.extend_from_slice(&offset.to_be_bytes());
        }
        Answer::Value { id, offset, version, data } => {
            out.push(VALUE);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&version.to_be_bytes());
            put_data(out, data.as_deref());
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

fn put_effect(sequence: u64, offset: u64, effect: &Effect, out: &mut Vec<u8>) {
    out.push(match effect {
        Effect::Published { .. } => PUBLISHED,
        Effect::Changed { .. } => CHANGED,
        Effect::Differs { .. } => DIFFERS,
        Effect::Called { .. } => CALLED,
    });
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
    match effect {
        Effect::Published { number } => out.extend_from_slice(&number.to_be_bytes()),
        Effect::Changed { version } => out.extend_from_slice(&version.to_be_bytes()),
        Effect::Differs { version, data } => {
            out.extend_from_slice(&version.to_be_bytes());
            put_data(out, data.as_deref());
        }
        Effect::Called { data } => out.extend_from_slice(data),
    }
}

fn effect(kind: u8, fields: &mut Fields<'_>) -> Result<Answer, BadMessage> {
    let (sequence, offset) = (fields.u64()?, fields.u64()?);
    let effect = match kind {
        PUBLISHED => Effect::Published { number: fields.u64()? },
        CHANGED => Effect::Changed { version: fields.u64()? },
        DIFFERS => Effect::Differs { version: fields.u64()?, data: fields.optional_rest()? },
        _ => Effect::Called { data: fields.rest() },
    };
    Ok(Answer::Done { sequence, offset, effect })
}

pub(crate) fn answer(fields: &mut Fields<'_>) -> Result<Answer, BadMessage> {
    Ok(match fields.u8()? {
        WELCOME => Answer::Welcome { session: fields.session()?, next: fields.u64()? },
        kind @ (PUBLISHED | CHANGED | DIFFERS | CALLED) => effect(kind, fields)?,
        MESSAGE => {
            let (offset, number, origin, time_s) = (fields.u64()?, fields.u64()?, fields.session()?, fields.u64()?);
            let (name, data) = (fields.name()?, fields.optional_rest()?);
            Answer::Message(Message { offset, name, number, origin, time_s, data })
        }
        REACHED => Answer::Reached { offset: fields.u64()? },
        VALUE => {
            let (id, offset, version) = (fields.u64()?, fields.u64()?, fields.u64()?);
            Answer::Value { id, offset, version, data: fields.optional_rest()? }
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
