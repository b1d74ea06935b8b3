//! The examples of docs/spec/pipe.md, byte for byte, and that every message survives both forms.

use pipe_protocol::{
    Answer, Effect, ErrorCode, Form, From, Level, Message, Name, Of, Order, Readable, Reader, Refusal, Request,
    SessionId, Submission, encode,
};
use proptest::prelude::*;
use std::fmt::Debug;

fn session() -> SessionId {
    SessionId::from_bytes([0xab; 16])
}

fn topic(name: &str) -> Name {
    Name::new(name).expect("a topic")
}

fn submit(sequence: u64, order: Order) -> Request {
    Request::Submit(Submission { sequence, order })
}

fn publish(sequence: u64, data: &[u8]) -> Request {
    submit(sequence, Order::Publish { topic: topic("chat"), data: data.to_vec() })
}

fn requests() -> [(Request, &'static str, &'static [u8]); 9] {
    [
        (
            Request::Hello { version: 1, session: Some(session()) },
            r#"{"op":"hello","version":1,"session":"abababababababababababababababab"}"#,
            b"\x00\x00\x00\x16\x01\x00\x00\x00\x01\x01\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab",
        ),
        (
            publish(2, b"hi"),
            r#"{"op":"pub","seq":2,"topic":"chat","data":"hi"}"#,
            b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x04chathi",
        ),
        (
            publish(3, &[0, 255]),
            r#"{"op":"pub","seq":3,"topic":"chat","b64":"AP8="}"#,
            b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x04chat\x00\xff",
        ),
        (
            submit(4, Order::Put { key: topic("k"), value: Some(b"v".to_vec()), if_version: Some(0) }),
            r#"{"op":"put","seq":4,"key":"k","if":0,"data":"v"}"#,
            b"\x00\x00\x00\x17\x06\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01k\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01v",
        ),
        (
            submit(5, Order::Put { key: topic("k"), value: None, if_version: None }),
            r#"{"op":"put","seq":5,"key":"k"}"#,
            b"\x00\x00\x00\x0e\x06\x00\x00\x00\x00\x00\x00\x00\x05\x00\x01k\x00\x00",
        ),
        (
            submit(6, Order::Call { app: 3, data: b"ping".to_vec() }),
            r#"{"op":"call","seq":6,"app":3,"data":"ping"}"#,
            b"\x00\x00\x00\x0f\x07\x00\x00\x00\x00\x00\x00\x00\x06\x00\x03ping",
        ),
        (
            Request::Subscribe { of: Of::Keys, names: vec![topic("a"), topic("b")], from: From::Offset(5) },
            r#"{"op":"sub","of":"keys","names":["a","b"],"from":5}"#,
            b"\x00\x00\x00\x11\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x01a\x00\x01b",
        ),
        (
            Request::Read { id: 9, key: topic("k"), level: Level::Linearizable },
            r#"{"op":"read","id":9,"key":"k","level":"linear"}"#,
            b"\x00\x00\x00\x0d\x04\x00\x00\x00\x00\x00\x00\x00\x09\x01\x00\x01k",
        ),
        (Request::Credit { count: 64 }, r#"{"op":"credit","n":64}"#, b"\x00\x00\x00\x05\x05\x00\x00\x00\x40"),
    ]
}

fn answers() -> [(Answer, &'static str, &'static [u8]); 9] {
    [
        (
            Answer::Welcome { session: session(), next: 2 },
            r#"{"op":"welcome","session":"abababababababababababababababab","next":2}"#,
            b"\x00\x00\x00\x19\x01\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\x00\x00\x00\x00\x00\x00\x00\x02",
        ),
        (
            Answer::Done { sequence: 2, offset: 7, effect: Effect::Published { number: 1 } },
            r#"{"op":"ack","seq":2,"off":7,"n":1}"#,
            b"\x00\x00\x00\x19\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x01",
        ),
        (
            Answer::Done { sequence: 4, offset: 8, effect: Effect::Changed { version: 1 } },
            r#"{"op":"changed","seq":4,"off":8,"version":1}"#,
            b"\x00\x00\x00\x19\x05\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01",
        ),
        (
            Answer::Done { sequence: 4, offset: 8, effect: Effect::Differs { version: 3, data: Some(b"w".to_vec()) } },
            r#"{"op":"differs","seq":4,"off":8,"version":3,"data":"w"}"#,
            b"\x00\x00\x00\x1b\x08\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x03\x01w",
        ),
        (
            Answer::Done { sequence: 6, offset: 9, effect: Effect::Called { data: b"pong".to_vec() } },
            r#"{"op":"called","seq":6,"off":9,"data":"pong"}"#,
            b"\x00\x00\x00\x15\x09\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x09pong",
        ),
        (
            Answer::Message(Message {
                offset: 7,
                name: topic("chat"),
                number: 1,
                origin: session(),
                time_s: 1,
                data: Some(b"hi".to_vec()),
            }),
            r#"{"op":"msg","off":7,"name":"chat","n":1,"origin":"abababababababababababababababab","ts":1,"data":"hi"}"#,
            b"\x00\x00\x00\x32\x03\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x01\
              \xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\x00\x00\x00\x00\x00\x00\x00\x01\x00\x04chat\x01hi",
        ),
        (Answer::Reached { offset: 8 }, r#"{"op":"cp","off":8}"#, b"\x00\x00\x00\x09\x04\x00\x00\x00\x00\x00\x00\x00\x08"),
        (
            Answer::Value { id: 9, offset: 8, version: 0, data: None },
            r#"{"op":"value","id":9,"off":8,"version":0}"#,
            b"\x00\x00\x00\x1a\x06\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x08\
              \x00\x00\x00\x00\x00\x00\x00\x00\x00",
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

fn name() -> impl Strategy<Value = Name> {
    "[ -~äß]{1,40}".prop_map(|text| topic(&text))
}

proptest! {
    #[test]
    fn a_stream_of_messages_comes_whole(
        messages in proptest::collection::vec((any::<u64>(), name(), proptest::collection::vec(any::<u8>(), 0..300)), 1..20),
        cut in 1..50usize,
    ) {
        let sent = messages.into_iter().map(|(sequence, topic, data)| {
            submit(sequence, Order::Publish { topic, data })
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
