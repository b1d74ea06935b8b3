//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn link_message_corpus() {
    Variations::every(1).replay("link_message", 10, conflux::fuzz::link_message);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn tunnel_cells_corpus() {
    let start = std::time::Instant::now();
    let variations = Variations { step: 1, places_max: 256, changes: &[0x55, 0x01] };
    variations.replay("tunnel_cells", 10, |input| conflux::fuzz::tunnel_cells(input, start));
}
