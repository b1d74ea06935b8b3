//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn guards_file_corpus() {
    Variations::every(1).replay("guards_file", 6, tunnel_plan::fuzz::guards_file);
}
