//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use link::Now;
use replay::Variations;

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn start() -> Now {
    Now { instant: std::time::Instant::now(), unix_s: 1_800_000_000 }
}

#[test]
fn link_packet_corpus() {
    Variations::every(97).replay("link_packet", 4, |input| link::fuzz::link_packets(input, start()));
}

#[test]
fn link_cells_corpus() {
    Variations::every(97).replay("link_cells", 4, |input| link::fuzz::hostile_peer(input, start()));
}

#[test]
fn hop_offer_corpus() {
    Variations::every(97).replay("hop_offer", 4, |input| link::fuzz::hop_offer(input, start()));
}
