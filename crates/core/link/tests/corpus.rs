//! The fuzz body over the committed corpus, and over its own variations.

use link::Now;
use std::fs;
use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time, and the corpus in the source tree")]
fn the_corpus_breaks_nothing() {
    let start = Now { instant: std::time::Instant::now(), unix_s: 1_800_000_000 };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        link::fuzz::link_packets(&input, start);
        for place in (0..input.len()).step_by(97) {
            input[place] ^= 0x55;
            link::fuzz::link_packets(&input, start);
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}
