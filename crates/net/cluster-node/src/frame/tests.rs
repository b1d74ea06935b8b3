use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn parse_in_pieces(stream: &[u8], piece: usize) -> Vec<Result<Frame, FrameError>> {
    let mut parser = MessageParser::new();
    let mut found = Vec::new();
    for part in stream.chunks(piece.max(1)) {
        parser.append(part);
        found.extend(parser.by_ref());
    }
    found
}

fn messages(stream: &[u8], piece: usize, cap: usize) -> Result<Vec<Bytes>, FrameError> {
    let mut assembler = Assembler::new(cap);
    let mut found = Vec::new();
    for frame in parse_in_pieces(stream, piece) {
        found.extend(assembler.handle_frame(frame?)?);
    }
    Ok(found)
}

#[test]
fn frames_have_exactly_these_bytes() {
    let mut out = Vec::new();
    encode_message(b"abc", &mut out);
    assert_eq!(out, [0, 0, 0, 5, 3, 1, b'a', b'b', b'c']);
    out.clear();
    encode(Kind::Welcome, &7u64.to_be_bytes(), &mut out);
    assert_eq!(out, [0, 0, 0, 10, 2, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    out.clear();
    encode(Kind::Open, &258u64.to_be_bytes(), &mut out);
    assert_eq!(out, [0, 0, 0, 10, 6, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
    out.clear();
    let hello = Hello { cluster: [1; 32], from: [2; 32], to: [3; 32], session: 4 };
    encode(Kind::Hello, &hello.encode(), &mut out);
    let expected = [[0, 0, 0, 106, 1, 1].as_slice(), &[1; 32], &[2; 32], &[3; 32], &[0, 0, 0, 0, 0, 0, 0, 4]].concat();
    assert_eq!(out, expected);
    out.clear();
    encode_message(&vec![9; BODY_MAX + 1], &mut out);
    assert_eq!(out[..12], [0, 4, 0, 2, 4, 1, 0, 4, 0, 1, 9, 9], "the length, then the message's length");
    assert_eq!(out[HEADER_LEN + BODY_MAX..], [0, 0, 0, 7, 5, 1, 9, 9, 9, 9, 9], "what the first frame had no room for");
}

#[test]
fn a_length_of_four_gibibytes_is_refused_by_its_four_bytes() {
    let mut parser = MessageParser::new();
    parser.append(&[0xff, 0xff, 0xff]);
    assert_eq!(parser.next(), None, "three bytes are no length");
    parser.append(&[0xff]);
    assert_eq!(parser.next(), Some(Err(FrameError::TooLong)));
    parser.append(&[0; 1 << 16]);
    assert_eq!((parser.next(), parser.pending()), (None, 0), "nothing is kept behind an error");
    let least = u32::try_from(BODY_MAX + 3).expect("a small number").to_be_bytes();
    assert_eq!(parse_in_pieces(&least, 4), [Err(FrameError::TooLong)]);
}

#[test]
fn what_is_no_frame_is_named() {
    assert_eq!(parse_in_pieces(&[0, 0, 0, 1, 3, 1], 9), [Err(FrameError::TooShort)]);
    assert_eq!(parse_in_pieces(&[0, 0, 0, 2, 9, 1], 9), [Err(FrameError::UnknownKind)]);
    assert_eq!(parse_in_pieces(&[0, 0, 0, 2, 3, 2], 9), [Err(FrameError::Version)]);
    assert_eq!(Hello::decode(&[0; 103]), Err(FrameError::OutOfPlace));
    assert_eq!(decode_number(&[0; 7]), Err(FrameError::OutOfPlace));
}

#[test]
fn pieces_that_do_not_add_up_are_refused() {
    let frame = |kind, body: Vec<u8>| Frame { kind, body: body.into() };
    let first = |total: usize, piece: usize| {
        let total = u32::try_from(total).expect("a small number").to_be_bytes();
        frame(Kind::First, [total.as_slice(), &vec![0; piece]].concat())
    };
    let full = BODY_MAX - 4;
    let refused = |frames: Vec<Frame>| {
        let mut assembler = Assembler::new(MESSAGE_MAX);
        frames.into_iter().find_map(|frame| assembler.handle_frame(frame).err())
    };
    assert_eq!(refused(vec![first(MESSAGE_MAX + 1, full)]), Some(FrameError::TooLong));
    assert_eq!(refused(vec![first(MESSAGE_MAX, full)]), None);
    assert_eq!(refused(vec![first(BODY_MAX, full)]), Some(FrameError::OutOfPlace), "it fits a frame");
    assert_eq!(refused(vec![first(MESSAGE_MAX, 9)]), Some(FrameError::OutOfPlace), "a short first piece");
    assert_eq!(refused(vec![frame(Kind::First, vec![0; 3])]), Some(FrameError::OutOfPlace));
    assert_eq!(refused(vec![frame(Kind::More, vec![0; 3])]), Some(FrameError::OutOfPlace));
    let begun = || first(BODY_MAX + 10, full);
    assert_eq!(refused(vec![begun(), frame(Kind::More, vec![0; 15])]), Some(FrameError::OutOfPlace));
    assert_eq!(refused(vec![begun(), frame(Kind::More, vec![0; 13])]), Some(FrameError::OutOfPlace));
    assert_eq!(refused(vec![begun(), frame(Kind::Message, vec![0; 3])]), Some(FrameError::OutOfPlace));
    assert_eq!(refused(vec![begun(), frame(Kind::More, vec![0; 14])]), None);
    let mut small = Assembler::new(2);
    assert_eq!(small.handle_frame(frame(Kind::Message, vec![0; 3])), Err(FrameError::TooLong));
}

/// The original looked at its whole buffer again for every piece: for these bytes that is 550 GB.
#[test]
fn defect_the_parser_is_quadratic_in_a_large_message() {
    let message = vec![0x0d; MESSAGE_MAX];
    let mut stream = Vec::new();
    encode_message(&message, &mut stream);
    let start = Instant::now();
    let found = messages(&stream, 16, MESSAGE_MAX).expect("a good stream");
    assert_eq!(found, [Bytes::from(message)]);
    // Far more than it takes, and far less than those would.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn messages_come_back_however_the_stream_is_cut(
        lengths in proptest::collection::vec(prop_oneof![0usize..300, BODY_MAX - 2..BODY_MAX + 3, 600_000usize..600_010], 0..4),
        piece in prop_oneof![1usize..50, 1_000usize..70_000],
    ) {
        let sent: Vec<Bytes> = lengths.iter().enumerate().map(|(number, length)| vec![number as u8; *length].into()).collect();
        let mut stream = Vec::new();
        for message in &sent {
            encode_message(message, &mut stream);
        }
        prop_assert_eq!(messages(&stream, piece, MESSAGE_MAX), Ok(sent));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..20) {
        let whole = messages(&bytes, 200, 100);
        prop_assert_eq!(whole, messages(&bytes, piece, 100));
    }
}
