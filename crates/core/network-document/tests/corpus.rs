//! The fuzz bodies over the committed corpora, and over their own variations.

use std::fs;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "the corpus in the source tree")]
fn replay(target: &str, step: usize, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        body(&input);
        for place in (0..input.len()).step_by(step) {
            body(&input[..place]);
            for change in [0x01, 0x12] {
                input[place] ^= change;
                body(&input);
                input[place] ^= change;
            }
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}

#[test]
fn network_document_corpus() {
    replay("network_document", 7, network_document::fuzz::network_document);
}

#[test]
fn onion_key_file_corpus() {
    replay("onion_key_file", 1, network_document::fuzz::onion_key_file);
}

#[test]
fn directory_edition_corpus() {
    replay("directory_edition", 5, network_document::fuzz::directory_edition);
}

#[test]
fn invitation_corpus() {
    replay("invitation", 1, network_document::fuzz::invitation);
}
