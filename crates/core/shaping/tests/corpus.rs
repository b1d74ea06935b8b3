//! Runs the fuzz target's body over the committed corpus.

#![allow(clippy::disallowed_methods, reason = "a test reads the corpus; the core opens no file")]

#[path = "bodies/ledger_record.rs"]
mod ledger_record;

use std::fs;
use std::path::Path;

#[test]
fn ledger_record_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/ledger_record");
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let mut bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        ledger_record::run(&bytes);
        for place in 0..bytes.len() {
            bytes[place] ^= 0x81;
            ledger_record::run(&bytes);
            bytes[place] ^= 0x81;
        }
        files += 1;
    }
    assert!(files >= 7, "{files} files");
}
