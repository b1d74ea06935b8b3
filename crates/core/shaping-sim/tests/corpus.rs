//! Runs the fuzz targets' bodies over the committed corpus, over every prefix of it, and with every bit of it bent.

use std::fs;
use std::path::Path;

#[path = "bodies/trace_capture.rs"]
mod trace_capture;
#[path = "bodies/trace_csv.rs"]
mod trace_csv;

#[expect(clippy::disallowed_methods, reason = "the corpus is files; the core itself opens none")]
fn replay(target: &str, body: fn(&[u8])) {
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
    assert!(count >= 5, "{} has {count} inputs", folder.display());
}

#[test]
fn trace_capture_corpus() {
    replay("trace_capture", trace_capture::run);
}

#[test]
fn trace_csv_corpus() {
    replay("trace_csv", trace_csv::run);
}
