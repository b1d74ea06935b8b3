//! The fuzz bodies: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::client::{DirectoryClient, Evidence};
use crate::command::Command;
use crate::directory::Directory;
use crate::fetch::{Answer, Request};
use crate::order::SignedOrder;
use crate::signer::Promise;
use crate::stream::{FrameReader, ServiceAnswer, ServiceRequest, frame};
use crate::succession::Succession;
use network_document::{Charter, NetworkId};
use std::sync::Arc;

/// Any bytes are a command or refused; what is read is written again as it came.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn directory_command(input: &[u8]) {
    if let Ok(command) = Command::decode(input) {
        assert_eq!(command.encode(), input, "a command is written as it was read");
    }
    if let Ok((network, order)) = SignedOrder::decode_file(input) {
        assert_eq!(order.encode_file(network), input, "an order's file is written as it was read");
    }
    if let Ok(succession) = Succession::decode(input) {
        assert_eq!(succession.encode(), input, "a change of members is written as it was read");
        assert!(succession.electorate().is_some(), "it has members");
    }
}

/// Any bytes are a request, an answer, a promise, evidence or a client's file, or refused; what is read is written again as it came. No client
/// takes an answer that nobody signed.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn directory_message(input: &[u8]) {
    if let Ok(request) = Request::decode(input) {
        assert_eq!(request.encode(), input, "a request is written as it was read");
    }
    if let Ok(answer) = Answer::decode(input) {
        assert_eq!(answer.encode(), input, "an answer is written as it was read");
        let mut client = DirectoryClient::new(NetworkId([0; 32]));
        assert!(client.handle_answer(0, input).is_err() && client.newest().is_none(), "nobody signed it");
    }
    if let Ok(promise) = Promise::decode(input) {
        assert_eq!(promise.encode(), input, "a promise is written as it was read");
    }
    if let Ok((network, evidence)) = Evidence::decode(input) {
        assert_eq!(evidence.encode(network), input, "evidence is written as it was read");
    }
    if let Some(network) = input.get(8..40).and_then(|id| id.try_into().ok()).map(NetworkId)
        && let Ok(client) = DirectoryClient::restore(network, input)
    {
        assert!(client.newest().is_none() || client.save() == input, "a file is written as it was read");
    }
}

/// Any bytes in any pieces are frames or refused; a request or an answer in one is written again as it came. The first byte is the
/// length of the pieces.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn directory_stream(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    for mut reader in [FrameReader::requests(), FrameReader::answers()] {
        let (mut read, mut written) = (0, Vec::new());
        'stream: for mut piece in stream.chunks(usize::from(*piece).max(1)) {
            while !piece.is_empty() {
                let Ok(taken) = reader.handle_bytes(piece) else { break 'stream };
                piece = &piece[taken..];
                read += taken;
                let Some(body) = reader.poll_frame() else {
                    assert!(taken > 0, "it goes on");
                    continue;
                };
                if let Ok(request) = ServiceRequest::decode(&body) {
                    assert_eq!(request.encode(), body, "a request is written as it was read");
                }
                if let Ok(answer) = ServiceAnswer::decode(&body) {
                    assert_eq!(answer.encode(), body, "an answer is written as it was read");
                }
                written.extend(frame(&body));
            }
        }
        assert_eq!(stream[..written.len()], written, "frames are written as they were read");
        assert!(written.len() <= read, "nothing comes of nothing");
    }
}

/// A charter, a zero byte, and any bytes: a state or refused. What is read is written again as it came, and goes on.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn directory_state(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let (charter, state) = (&input[..end], &input[end + 1..]);
    let Ok(charter) = Charter::parse(charter) else { return };
    let Ok(mut directory) = Directory::decode(Arc::new(charter), state) else { return };
    assert_eq!(directory.encode(), state, "a state is written as it was read");
    assert_eq!(directory.apply(state).len(), 1, "a state is no command");
}
