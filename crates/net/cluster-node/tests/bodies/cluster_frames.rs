//! The fuzz body of the cluster's frames.

use bytes::Bytes;
use cluster_node::frame::{Assembler, FrameError, Hello, Kind, MESSAGE_MAX, MessageParser, encode, encode_message};

/// The first byte says in which pieces the rest comes. However the stream is cut, the same frames and messages are found, and
/// each is written as it was read.
pub(crate) fn run(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let (frames, messages) = read(stream, stream.len());
    assert_eq!((frames, messages), read(stream, usize::from(*piece)), "pieces change nothing");
    let (frames, messages) = read(stream, stream.len());
    let mut written = Vec::new();
    for (kind, body) in frames.iter().flatten() {
        encode(*kind, body, &mut written);
        if let (Kind::Hello, Ok(hello)) = (kind, Hello::decode(body)) {
            assert_eq!(hello.encode(), body[..], "a hello is written as it was read");
        }
    }
    assert!(stream.starts_with(&written), "frames are written as they were read");
    for message in messages.iter().flatten() {
        let mut again = Vec::new();
        encode_message(message, &mut again);
        assert_eq!(read(&again, again.len()).1, [Ok(message.clone())], "a message comes back");
    }
}

type Frames = Vec<Result<(Kind, Bytes), FrameError>>;
type Messages = Vec<Result<Bytes, FrameError>>;

fn read(stream: &[u8], piece: usize) -> (Frames, Messages) {
    let (mut parser, mut assembler) = (MessageParser::new(), Assembler::new(MESSAGE_MAX));
    let (mut frames, mut messages, mut is_bad) = (Vec::new(), Vec::new(), false);
    for part in stream.chunks(piece.max(1)) {
        parser.append(part);
        for frame in parser.by_ref() {
            frames.push(frame.clone().map(|frame| (frame.kind, frame.body)));
            if let (Ok(frame), false) = (frame, is_bad) {
                let message = assembler.handle_frame(frame);
                is_bad = message.is_err();
                messages.extend(message.transpose());
            }
        }
    }
    (frames, messages)
}
