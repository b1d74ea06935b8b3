//! Lines of JSON (docs/spec/pipe.md, "Lines").

use crate::message::{
    Answer, Effect, ErrorCode, From, Level, Message, Name, Of, Order, Refusal, Request, SessionId, Submission, VERSION,
};
use crate::reader::BadMessage;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Data that is text stands in `data`, any other as base64 in `b64`.
#[derive(Serialize, Deserialize, Default)]
struct Data<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    data: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    b64: Option<Cow<'a, str>>,
}

impl<'a> Data<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { data: Some(Cow::Borrowed(text)), b64: None },
            Err(_) => Self { data: None, b64: Some(Cow::Owned(BASE64.encode(bytes))) },
        }
    }

    fn bytes(self) -> Result<Option<Vec<u8>>, BadMessage> {
        match (self.data, self.b64) {
            (None, None) => Ok(None),
            (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
            (None, Some(text)) => BASE64.decode(text.as_bytes()).map(Some).map_err(|_| BadMessage::Base64),
            (Some(_), Some(_)) => Err(BadMessage::Twice),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Place {
    Offset(u64),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Tail,
    Oldest,
}

#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Followed {
    #[default]
    Topics,
    Keys,
}

impl Followed {
    fn is_topics(&self) -> bool {
        *self == Self::Topics
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sure {
    Local,
    Linear,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Said<'a> {
    Hello {
        #[serde(default = "newest")]
        version: u32,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        session: Option<Cow<'a, str>>,
    },
    Pub {
        seq: u64,
        #[serde(borrow)]
        topic: Cow<'a, str>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Put {
        seq: u64,
        #[serde(borrow)]
        key: Cow<'a, str>,
        #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Call {
        seq: u64,
        app: u16,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Sub {
        #[serde(default, skip_serializing_if = "Followed::is_topics")]
        of: Followed,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
        from: Place,
    },
    Read {
        id: u64,
        #[serde(borrow)]
        key: Cow<'a, str>,
        level: Sure,
    },
    Credit {
        n: u32,
    },
}

fn newest() -> u32 {
    VERSION
}

fn name(text: &str) -> Result<Name, BadMessage> {
    Name::new(text).map_err(BadMessage::Name)
}

fn submit(sequence: u64, order: Order) -> Request {
    Request::Submit(Submission { sequence, order })
}

pub(crate) fn request(line: &[u8]) -> Result<Request, BadMessage> {
    Ok(match serde_json::from_slice::<Said<'_>>(line).map_err(BadMessage::Json)? {
        Said::Hello { version, session } => {
            let session = session.map(|text| text.parse::<SessionId>()).transpose().map_err(BadMessage::Session)?;
            Request::Hello { version, session }
        }
        Said::Pub { seq, topic, data, b64 } => {
            let data = Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)?;
            submit(seq, Order::Publish { topic: name(&topic)?, data })
        }
        Said::Put { seq, key, if_version, data, b64 } => {
            submit(seq, Order::Put { key: name(&key)?, if_version, value: Data { data, b64 }.bytes()? })
        }
        Said::Call { seq, app, data, b64 } => {
            submit(seq, Order::Call { app, data: Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)? })
        }
        Said::Sub { of, names, from } => {
            let names = names.iter().map(|each| name(each)).collect::<Result<_, _>>()?;
            let of = if of.is_topics() { Of::Topics } else { Of::Keys };
            let from = match from {
                Place::Offset(offset) => From::Offset(offset),
                Place::Word(Word::Tail) => From::Tail,
                Place::Word(Word::Oldest) => From::Oldest,
            };
            Request::Subscribe { of, names, from }
        }
        Said::Read { id, key, level } => {
            let level = match level {
                Sure::Local => Level::Local,
                Sure::Linear => Level::Linearizable,
            };
            Request::Read { id, level, key: name(&key)? }
        }
        Said::Credit { n } => Request::Credit { count: n },
    })
}

/// The line of a request, with its end.
pub(crate) fn put_request(request: &Request, out: &mut Vec<u8>) {
    let said = match request {
        Request::Hello { version, session } => {
            Said::Hello { version: *version, session: session.map(|session| session.to_string().into()) }
        }
        Request::Submit(Submission { sequence, order }) => said_order(*sequence, order),
        Request::Subscribe { of, names, from } => {
            let from = match from {
                From::Offset(offset) => Place::Offset(*offset),
                From::Tail => Place::Word(Word::Tail),
                From::Oldest => Place::Word(Word::Oldest),
            };
            let of = if *of == Of::Topics { Followed::Topics } else { Followed::Keys };
            Said::Sub { of, names: names.iter().map(|each| each.as_str().to_owned()).collect(), from }
        }
        Request::Read { id, key, level } => {
            let level = if *level == Level::Local { Sure::Local } else { Sure::Linear };
            Said::Read { id: *id, key: key.as_str().into(), level }
        }
        Request::Credit { count } => Said::Credit { n: *count },
    };
    put_line(&said, out);
}

fn said_order(seq: u64, order: &Order) -> Said<'_> {
    match order {
        Order::Publish { topic, data } => {
            let Data { data, b64 } = Data::new(data);
            Said::Pub { seq, topic: topic.as_str().into(), data, b64 }
        }
        Order::Put { key, value, if_version } => {
            let Data { data, b64 } = value.as_deref().map_or_else(Data::default, Data::new);
            Said::Put { seq, key: key.as_str().into(), if_version: *if_version, data, b64 }
        }
        Order::Call { app, data } => {
            let Data { data, b64 } = Data::new(data);
            Said::Call { seq, app: *app, data, b64 }
        }
    }
}

fn put_line(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, value).expect("a vector takes any bytes and the keys are text");
    out.push(b'\n');
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Told<'a> {
    Welcome {
        #[serde(borrow)]
        session: Cow<'a, str>,
        next: u64,
    },
    Ack {
        seq: u64,
        off: u64,
        n: u64,
    },
    Changed {
        seq: u64,
        off: u64,
        version: u64,
    },
    Differs {
        seq: u64,
        off: u64,
        version: u64,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Called {
        seq: u64,
        off: u64,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Msg {
        off: u64,
        #[serde(borrow)]
        name: Cow<'a, str>,
        n: u64,
        #[serde(borrow)]
        origin: Cow<'a, str>,
        ts: u64,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Cp {
        off: u64,
    },
    Value {
        id: u64,
        off: u64,
        version: u64,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Error {
        #[serde(borrow)]
        code: Cow<'a, str>,
        #[serde(borrow)]
        text: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u32>,
    },
}

/// The line of an answer, with its end.
pub(crate) fn put_answer(answer: &Answer, out: &mut Vec<u8>) {
    let told = match answer {
        Answer::Welcome { session, next } => Told::Welcome { session: session.to_string().into(), next: *next },
        Answer::Done { sequence, offset, effect } => told_effect(*sequence, *offset, effect),
        Answer::Message(Message { offset, name, number, origin, time_s, data }) => {
            let Data { data, b64 } = data.as_deref().map_or_else(Data::default, Data::new);
            let (name, origin) = (name.as_str().into(), origin.to_string().into());
            Told::Msg { off: *offset, name, n: *number, origin, ts: *time_s, data, b64 }
        }
        Answer::Reached { offset } => Told::Cp { off: *offset },
        Answer::Value { id, offset, version, data } => {
            let Data { data, b64 } = data.as_deref().map_or_else(Data::default, Data::new);
            Told::Value { id: *id, off: *offset, version: *version, data, b64 }
        }
        Answer::Error(Refusal { code, text, about, expected, retry_ms }) => Told::Error {
            code: code.name().into(),
            text: text.into(),
            about: *about,
            expected: *expected,
            retry_ms: *retry_ms,
        },
    };
    put_line(&told, out);
}

fn told_effect(seq: u64, off: u64, effect: &Effect) -> Told<'_> {
    match effect {
        Effect::Published { number } => Told::Ack { seq, off, n: *number },
        Effect::Changed { version } => Told::Changed { seq, off, version: *version },
        Effect::Differs { version, data } => {
            let Data { data, b64 } = data.as_deref().map_or_else(Data::default, Data::new);
            Told::Differs { seq, off, version: *version, data, b64 }
        }
        Effect::Called { data } => {
            let Data { data, b64 } = Data::new(data);
            Told::Called { seq, off, data, b64 }
        }
    }
}

pub(crate) fn answer(line: &[u8]) -> Result<Answer, BadMessage> {
    let session = |text: Cow<'_, str>| text.parse::<SessionId>().map_err(BadMessage::Session);
    Ok(match serde_json::from_slice::<Told<'_>>(line).map_err(BadMessage::Json)? {
        Told::Welcome { session: text, next } => Answer::Welcome { session: session(text)?, next },
        Told::Ack { seq, off, n } => done(seq, off, Effect::Published { number: n }),
        Told::Changed { seq, off, version } => done(seq, off, Effect::Changed { version }),
        Told::Differs { seq, off, version, data, b64 } => {
            done(seq, off, Effect::Differs { version, data: Data { data, b64 }.bytes()? })
        }
        Told::Called { seq, off, data, b64 } => {
            done(seq, off, Effect::Called { data: Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)? })
        }
        Told::Msg { off, name: text, n, origin, ts, data, b64 } => {
            let (name, origin, data) = (name(&text)?, session(origin)?, Data { data, b64 }.bytes()?);
            Answer::Message(Message { offset: off, name, number: n, origin, time_s: ts, data })
        }
        Told::Cp { off } => Answer::Reached { offset: off },
        Told::Value { id, off, version, data, b64 } => {
            Answer::Value { id, offset: off, version, data: Data { data, b64 }.bytes()? }
        }
        Told::Error { code, text, about, expected, retry_ms } => {
            let named = ErrorCode::ALL.iter().find(|(_, name)| *name == code);
            let code = named.ok_or(BadMessage::Code)?.0;
            Answer::Error(Refusal { code, text: text.into_owned(), about, expected, retry_ms })
        }
    })
}

fn done(sequence: u64, offset: u64, effect: Effect) -> Answer {
    Answer::Done { sequence, offset, effect }
}
