//! The fuzz body of the control stream's decoder.

use session::{ControlDecoder, ControlMessage, Violation};

/// The first byte says in which pieces the rest comes. However the stream is cut, the same messages are found, and
/// each is written as it was read.
pub(crate) fn run(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let whole = decode(stream, stream.len());
    let pieces = decode(stream, usize::from(*piece));
    assert_eq!(whole, pieces, "pieces change nothing");
    let mut written = Vec::new();
    for message in &whole.0 {
        message.encode(&mut written);
    }
    // A host name is read in any case and written in lower case.
    assert!(stream[..written.len()].eq_ignore_ascii_case(&written), "a message is written as it was read");
}

fn decode(stream: &[u8], piece: usize) -> (Vec<ControlMessage>, Result<(), Violation>) {
    let mut decoder = ControlDecoder::new();
    let mut messages = Vec::new();
    let outcome = stream.chunks(piece.max(1)).try_for_each(|part| {
        decoder.push(part, |message| {
            messages.push(message);
            Ok(())
        })
    });
    (messages, outcome)
}
