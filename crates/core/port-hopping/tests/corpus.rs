//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn hop_datagram_corpus() {
    let start = std::time::Instant::now();
    Variations::every(5).replay("hop_datagram", 8, |input| port_hopping::fuzz::hop_datagram(input, start));
}

#[test]
fn hop_text_corpus() {
    Variations::BITS.replay("hop_text", 8, port_hopping::fuzz::hop_text);
}
