//! The fuzz body over the committed corpus, and over its variations.

use std::fs;
use std::path::Path;

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus in the source tree")]
fn guards_file_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/guards_file");
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        tunnel_plan::fuzz::guards_file(&input);
        for place in 0..input.len() {
            tunnel_plan::fuzz::guards_file(&input[..place]);
            for change in [0x01, 0x12] {
                input[place] ^= change;
                tunnel_plan::fuzz::guards_file(&input);
                input[place] ^= change;
            }
        }
        files += 1;
    }
    assert!(files >= 6, "{files} files");
}
