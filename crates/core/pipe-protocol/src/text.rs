//! Lines of JSON (docs/spec/pipe.md, "Lines").

use crate::message::{
    Answer, ErrorCode, From, Key, Level, Message, Publication, Refusal, Request, SessionId, Topic, VERSION,
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
    Snapshot,
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
    Sub {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        topics: Vec<String>,
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

pub(crate) fn request(line: &[u8]) -> Result<Request, BadMessage> {
    Ok(match serde_json::from_slice::<Said<'_>>(line).map_err(BadMessage::Json)? {
        Said::Hello { version, session } => {
            let session = session.map(|text| text.parse::<SessionId>()).transpose().map_err(BadMessage::Session)?;
            Request::Hello { version, session }
        }
        Said::Pub { seq, topic, data, b64 } => {
            let topic = Topic::new(&topic).map_err(BadMessage::Topic)?;
            let data = Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)?;
            Request::Publish(Publication { sequence: seq, topic, data })
        }
        Said::Sub { topics, from } => {
            let topics =
                topics.iter().map(|name| Topic::new(name).map_err(BadMessage::Topic)).collect::<Result<_, _>>()?;
            let from = match from {
                Place::Offset(offset) => From::Offset(offset),
                Place::Word(Word::Tail) => From::Tail,
                Place::Word(Word::Snapshot) => From::Snapshot,
            };
            Request::Subscribe { topics, from }
        }
        Said::Read { id, key, level } => {
            let level = match level {
                Sure::Local => Level::Local,
                Sure::Linear => Level::Linearizable,
            };
            Request::Read { id, level, key: Key::new(&key).map_err(BadMessage::Key)? }
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
        Request::Publish(Publication { sequence, topic, data }) => {
            let Data { data, b64 } = Data::new(data);
            Said::Pub { seq: *sequence, topic: topic.as_str().into(), data, b64 }
        }
        Request::Subscribe { topics, from } => {
            let from = match from {
                From::Offset(offset) => Place::Offset(*offset),
                From::Tail => Place::Word(Word::Tail),
                From::Snapshot => Place::Word(Word::Snapshot),
            };
            Said::Sub { topics: topics.iter().map(|topic| topic.as_str().to_owned()).collect(), from }
        }
        Request::Read { id, key, level } => {
            let level = if *level == Level::Local { Sure::Local } else { Sure::Linear };
            Said::Read { id: *id, key: key.as_str().into(), level }
        }
        Request::Credit { count } => Said::Credit { n: *count },
    };
    put_line(&said, out);
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
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Msg {
        off: u64,
        #[serde(borrow)]
        topic: Cow<'a, str>,
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
    Snap {
        off: u64,
        last: bool,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, str>>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        b64: Option<Cow<'a, str>>,
    },
    Value {
        id: u64,
        off: u64,
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
        Answer::Acknowledged { sequence, offset, result } => {
            // Most applications say nothing, and a line is shorter without it.
            let Data { data, b64 } = if result.is_empty() { Data::default() } else { Data::new(result) };
            Told::Ack { seq: *sequence, off: *offset, data, b64 }
        }
        Answer::Message(Message { offset, topic, origin, time_s, data }) => {
            let Data { data, b64 } = Data::new(data);
            let (topic, origin) = (topic.as_str().into(), origin.to_string().into());
            Told::Msg { off: *offset, topic, origin, ts: *time_s, data, b64 }
        }
        Answer::Reached { offset } => Told::Cp { off: *offset },
        Answer::Snapshot { offset, last, data } => {
            let Data { data, b64 } = Data::new(data);
            Told::Snap { off: *offset, last: *last, data, b64 }
        }
        Answer::Value { id, offset, data } => {
            let Data { data, b64 } = data.as_deref().map_or_else(Data::default, Data::new);
            Told::Value { id: *id, off: *offset, data, b64 }
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

pub(crate) fn answer(line: &[u8]) -> Result<Answer, BadMessage> {
    let session = |text: Cow<'_, str>| text.parse::<SessionId>().map_err(BadMessage::Session);
    Ok(match serde_json::from_slice::<Told<'_>>(line).map_err(BadMessage::Json)? {
        Told::Welcome { session: text, next } => Answer::Welcome { session: session(text)?, next },
        Told::Ack { seq, off, data, b64 } => {
            let result = Data { data, b64 }.bytes()?.unwrap_or_default();
            Answer::Acknowledged { sequence: seq, offset: off, result }
        }
        Told::Msg { off, topic, origin, ts, data, b64 } => {
            let topic = Topic::new(&topic).map_err(BadMessage::Topic)?;
            let data = Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)?;
            Answer::Message(Message { offset: off, topic, origin: session(origin)?, time_s: ts, data })
        }
        Told::Cp { off } => Answer::Reached { offset: off },
        Told::Snap { off, last, data, b64 } => {
            Answer::Snapshot { offset: off, last, data: Data { data, b64 }.bytes()?.ok_or(BadMessage::NoData)? }
        }
        Told::Value { id, off, data, b64 } => Answer::Value { id, offset: off, data: Data { data, b64 }.bytes()? },
        Told::Error { code, text, about, expected, retry_ms } => {
            let named = ErrorCode::ALL.iter().find(|(_, name)| *name == code);
            let code = named.ok_or(BadMessage::Code)?.0;
            Answer::Error(Refusal { code, text: text.into_owned(), about, expected, retry_ms })
        }
    })
}
