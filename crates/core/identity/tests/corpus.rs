//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn peer_string_corpus() {
    Variations::every(1).replay("peer_string", 4, identity::fuzz::peer_string);
}

#[test]
fn key_file_corpus() {
    Variations::every(1).replay("key_file", 4, identity::fuzz::key_file);
}
