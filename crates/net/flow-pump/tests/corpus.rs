//! The fuzz bodies over the committed corpora.

#[path = "bodies/datagram_ring.rs"]
mod datagram_ring;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[test]
fn datagram_ring_corpus() {
    replay::inputs("datagram_ring", 5).iter().for_each(|input| datagram_ring::run(input));
}
