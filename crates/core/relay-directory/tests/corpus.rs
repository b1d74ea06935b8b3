//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn directory_command_corpus() {
    Variations::every(1).replay("directory_command", 4, relay_directory::fuzz::directory_command);
}

#[test]
fn directory_message_corpus() {
    Variations::every(7).replay("directory_message", 4, relay_directory::fuzz::directory_message);
}

#[test]
fn directory_stream_corpus() {
    Variations::every(1).replay("directory_stream", 4, relay_directory::fuzz::directory_stream);
}

#[test]
fn directory_state_corpus() {
    Variations::every(11).replay("directory_state", 4, relay_directory::fuzz::directory_state);
}
