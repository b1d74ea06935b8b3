//! The fuzz bodies over the committed corpora, and over their own variations.

use std::fs;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "the corpus is read from the source tree")]
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        body(&input);
        for place in 0..input.len().min(512) {
            input[place] ^= 0x03;
            body(&input);
            input[place] ^= 0x03;
            body(&input[..place]);
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}

#[test]
fn peer_string_corpus() {
    replay("peer_string", identity::fuzz::peer_string);
}

#[test]
fn key_file_corpus() {
    replay("key_file", identity::fuzz::key_file);
}
