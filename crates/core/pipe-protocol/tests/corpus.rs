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
        for place in 0..input.len().min(512) {
            body(&input[..place]);
            for bit in 0..8 {
                input[place] ^= 1 << bit;
                body(&input);
                input[place] ^= 1 << bit;
            }
        }
        count += 1;
    }
    assert!(count >= 8, "{} has {count} inputs", folder.display());
}

#[test]
fn pipe_messages_corpus() {
    replay("pipe_messages", pipe_protocol::fuzz::messages);
}

#[test]
fn pipe_connection_corpus() {
    replay("pipe_connection", pipe_protocol::fuzz::connection);
}
