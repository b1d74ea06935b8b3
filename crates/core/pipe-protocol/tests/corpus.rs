//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn pipe_messages_corpus() {
    Variations::BITS.replay("pipe_messages", 8, pipe_protocol::fuzz::messages);
}

#[test]
fn pipe_connection_corpus() {
    Variations::BITS.replay("pipe_connection", 8, pipe_protocol::fuzz::connection);
}
