//! The fuzz bodies over the committed corpora, and over their own variations.

use std::fs;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "the corpus is files; the core itself opens none")]
fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        body(&input);
        for place in (0..input.len().min(512)).step_by(1 + input.len() / 128) {
            body(&input[..place]);
            let bit = 1 << (place % 8);
            input[place] ^= bit;
            body(&input);
            input[place] ^= bit;
        }
        count += 1;
    }
    assert!(count >= 8, "{} has {count} inputs", folder.display());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn hop_datagram_corpus() {
    let start = std::time::Instant::now();
    replay("hop_datagram", |input| port_hopping::fuzz::hop_datagram(input, start));
}

#[test]
fn hop_text_corpus() {
    replay("hop_text", port_hopping::fuzz::hop_text);
}
