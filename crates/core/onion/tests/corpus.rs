//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn onion_message_corpus() {
    Variations::every(1).replay("onion_message", 4, onion::fuzz::onion_message);
}

#[test]
fn onion_relay_corpus() {
    Variations::every(11).replay("onion_relay", 4, |input| onion::fuzz::onion_relay(input, start()));
}

#[test]
fn onion_circuit_corpus() {
    Variations::every(11).replay("onion_circuit", 4, |input| onion::fuzz::onion_circuit(input, start()));
}
