//! The fuzz bodies over the committed corpora.

#[path = "../../../../fuzz/replay.rs"]
mod replay;
#[path = "bodies/replay_file.rs"]
mod replay_file;

#[test]
fn replay_file_corpus() {
    replay::inputs("replay_file", 5).iter().for_each(|input| replay_file::run(input));
}
