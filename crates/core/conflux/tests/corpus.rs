//! The fuzz bodies over the committed corpora, and over their own variations.

use std::fs;
use std::path::Path;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the corpus in the source tree")]
fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        body(&input);
        for place in 0..input.len().min(256) {
            body(&input[..place]);
            input[place] ^= 0x55;
            body(&input);
            input[place] ^= 0x54;
            body(&input);
            input[place] ^= 0x01;
        }
        files += 1;
    }
    assert!(files >= 10, "{files} files");
}

#[test]
fn link_message_corpus() {
    replay("link_message", conflux::fuzz::link_message);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn tunnel_cells_corpus() {
    let start = Instant::now();
    replay("tunnel_cells", |input| conflux::fuzz::tunnel_cells(input, start));
}
