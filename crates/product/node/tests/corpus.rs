//! Runs the fuzz target's body over the committed corpus.

use std::fs;
use std::path::Path;

#[path = "bodies/replay_file.rs"]
mod replay_file;

#[test]
fn replay_file_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/replay_file");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("a readable folder").path();
        replay_file::run(&fs::read(path).expect("a readable file"));
        count += 1;
    }
    assert!(count >= 5, "{count} inputs");
}
