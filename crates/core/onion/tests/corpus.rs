//! The fuzz bodies over the committed corpora, and over their own variations.

use std::fs;
use std::path::Path;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the corpus in the source tree")]
fn replay(target: &str, step: usize, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        body(&input);
        for place in (0..input.len()).step_by(step) {
            body(&input[..place]);
            input[place] ^= 0x55;
            body(&input);
            input[place] ^= 0x55;
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn onion_message_corpus() {
    replay("onion_message", 1, onion::fuzz::onion_message);
}

#[test]
fn onion_relay_corpus() {
    replay("onion_relay", 11, |input| onion::fuzz::onion_relay(input, start()));
}

#[test]
fn onion_circuit_corpus() {
    replay("onion_circuit", 11, |input| onion::fuzz::onion_circuit(input, start()));
}
