//! The examples of docs/spec/pipe.md, byte for byte, and that every message survives both forms.

use pipe_protocol::{
    Answer, ErrorCode, Form, From, Key, Level, Message, Publication, Readable, Reader, Refusal, Request, SessionId,
    Topic, encode,
};
use proptest::prelude::*;
use std::fmt::Debug;

fn session() -> SessionId {
    SessionId::from_bytes([0xab; 16])
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

fn requests() -> [(Request, &'static str, &'static [u8]); 6] {
    [
        (
            Request::Hello { version: 1, session: Some(session()) },
            r#"{"op":"hello","version":1,"session":"abababababababababababababababab"}"#,
            b"\x00\x00\x00\x16\x01\x00\x00\x00\x01\x01\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab",
        ),
        (
            Request::Publish(Publication { sequence: 2, topic: topic("chat"), data: b"hi".to_vec() }),
            r#"{"op":"pub","seq":2,"topic":"chat","data":"hi"}"#,
            b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x04chathi",
        ),
        (
            Request::Publish(Publication { sequence: 3, topic: topic("chat"), data: vec![0, 255] }),
            r#"{"op":"pub","seq":3,"topic":"chat","b64":"AP8="}"#,
            b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x04chat\x00\xff",
        ),
        (
            Request::Subscribe { topics: vec![topic("a"), topic("b")], from: From::Offset(5) },
            r#"{"op":"sub","topics":["a","b"],"from":5}"#,
            b"\x00\x00\x00\x10\x03\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x01a\x00\x01b",
        ),
        (
            Request::Read { id: 9, key: Key::new("k").expect("a key"), level: Level::Linearizable },
            r#"{"op":"read","id":9,"key":"k","level":"linear"}"#,
            b"\x00\x00\x00\x0d\x04\x00\x00\x00\x00\x00\x00\x00\x09\x01\x00\x01k",
        ),
        (Request::Credit { count: 64 }, r#"{"op":"credit","n":64}"#, b"\x00\x00\x00\x05\x05\x00\x00\x00\x40"),
    ]
}

fn answers() -> [(Answer, &'static str, &'static [u8]); 6] {
    [
        (
            Answer::Acknowledged { sequence: 2, offset: 7, result: Vec::new() },
            r#"{"op":"ack","seq":2,"off":7}"#,
            b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07",
        ),
        (
            Answer::Message(Message {
                offset: 7,
                topic: topic("chat"),
                origin: session(),
                time_s: 1,
                data: b"hi".to_vec(),
            }),
            r#"{"op":"msg","off":7,"topic":"chat","origin":"abababababababababababababababab","ts":1,"data":"hi"}"#,
            b"\x00\x00\x00\x29\x03\x00\x00\x00\x00\x00\x00\x00\x07\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\
              \x00\x00\x00\x00\x00\x00\x00\x01\x00\x04chathi",
        ),
        (Answer::Reached { offset: 8 }, r#"{"op":"cp","off":8}"#, b"\x00\x00\x00\x09\x04\x00\x00\x00\x00\x00\x00\x00\x08"),
        (
            Answer::Snapshot { offset: 8, last: true, data: b"s".to_vec() },
            r#"{"op":"snap","off":8,"last":true,"data":"s"}"#,
            b"\x00\x00\x00\x0b\x05\x00\x00\x00\x00\x00\x00\x00\x08\x01s",
        ),
        (
            Answer::Value { id: 9, offset: 8, data: None },
            r#"{"op":"value","id":9,"off":8}"#,
            b"\x00\x00\x00\x12\x06\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x08\x00",
        ),
        (
            Answer::Error(Refusal { expected: Some(3), about: Some(5), ..Refusal::new(ErrorCode::Gap, "no") }),
            r#"{"op":"error","code":"gap","text":"no","about":5,"expected":3}"#,
            b"\x00\x00\x00\x19\x07\x05\x01\x00\x00\x00\x00\x00\x00\x00\x05\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x02no",
        ),
    ]
}

fn stands_as<M: Readable + PartialEq + Debug>(message: &M, line: &str, frame: &[u8]) {
    let (mut lines, mut frames) = (Vec::new(), Vec::new());
    encode(message, Form::Lines, &mut lines);
    encode(message, Form::Frames, &mut frames);
    assert_eq!(String::from_utf8(lines).expect("text"), format!("{line}\n"));
    assert_eq!(frames, frame, "{message:?}");
    assert_eq!(&M::from_line(line.as_bytes()).expect("a line of the page"), message);
    assert_eq!(&M::from_frame(&frame[4..]).expect("a frame of the page"), message);
}

#[test]
fn messages_stand_as_the_page_says() {
    for (request, line, frame) in requests() {
        stands_as(&request, line, frame);
    }
    for (answer, line, frame) in answers() {
        stands_as(&answer, line, frame);
    }
}

fn name() -> impl Strategy<Value = Topic> {
    "[ -~äß]{1,40}".prop_map(|text| topic(&text))
}

proptest! {
    #[test]
    fn a_stream_of_messages_comes_whole(
        messages in proptest::collection::vec((any::<u64>(), name(), proptest::collection::vec(any::<u8>(), 0..300)), 1..20),
        cut in 1..50usize,
    ) {
        let sent = messages.into_iter().map(|(sequence, topic, data)| {
            Request::Publish(Publication { sequence, topic, data })
        }).collect::<Vec<_>>();
        for form in [Form::Lines, Form::Frames] {
            let mut bytes = if form == Form::Frames { pipe_protocol::MAGIC.to_vec() } else { Vec::new() };
            for message in &sent {
                encode(message, form, &mut bytes);
            }
            let mut reader = Reader::<Request>::new();
            let mut came = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(message) = reader.next_message() {
                    came.push(message.expect("whole messages"));
                }
            }
            prop_assert_eq!(&came, &sent);
        }
    }
}
