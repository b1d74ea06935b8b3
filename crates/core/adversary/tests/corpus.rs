//! Runs the fuzz target's body over the committed corpus, over prefixes of it, and with every bit of it bent.

use std::fs;
use std::path::Path;

#[path = "bodies/capture.rs"]
mod capture;

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus is files; the core itself opens none")]
fn capture_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/capture");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        capture::run(&input);
        for place in 0..input.len().min(512) {
            capture::run(&input[..place]);
            for bit in 0..8 {
                input[place] ^= 1 << bit;
                capture::run(&input);
                input[place] ^= 1 << bit;
            }
        }
        count += 1;
    }
    assert!(count >= 5, "{count} inputs");
}
