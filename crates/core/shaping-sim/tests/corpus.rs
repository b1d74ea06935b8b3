//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;
#[path = "bodies/trace_capture.rs"]
mod trace_capture;
#[path = "bodies/trace_csv.rs"]
mod trace_csv;

use replay::Variations;

#[test]
fn trace_capture_corpus() {
    Variations::BITS.replay("trace_capture", 5, trace_capture::run);
}

#[test]
fn trace_csv_corpus() {
    Variations::BITS.replay("trace_csv", 5, trace_csv::run);
}
