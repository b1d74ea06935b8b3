//! The fuzz body over the committed corpus, and over its own variations.

use std::fs;
use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus is read from the source tree")]
fn the_corpus_breaks_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        identity::fuzz::peer_string(&input);
        for place in 0..input.len() {
            input[place] ^= 0x03;
            identity::fuzz::peer_string(&input);
            input[place] ^= 0x03;
            identity::fuzz::peer_string(&input[..place]);
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}
