//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "bodies/cluster_frame.rs"]
mod cluster_frame;
#[path = "bodies/log_file.rs"]
mod log_file;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn log_file_corpus() {
    let variations = Variations { step: 1, places_max: usize::MAX, changes: &[0x81] };
    variations.replay("log_file", 4, log_file::run);
}

#[test]
fn cluster_frame_corpus() {
    let variations = Variations { step: 1, places_max: usize::MAX, changes: &[0x81] };
    variations.replay("cluster_frame", 8, cluster_frame::run);
}
