//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "bodies/capture.rs"]
mod capture;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn capture_corpus() {
    Variations::BITS.replay("capture", 5, capture::run);
}
