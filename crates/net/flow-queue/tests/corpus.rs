//! The fuzz bodies over the committed corpora.

#[path = "bodies/queue_segment.rs"]
mod queue_segment;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[test]
fn queue_segment_corpus() {
    replay::inputs("queue_segment", 5).iter().for_each(|input| queue_segment::run(input));
}
