//! Runs the fuzz targets' bodies over the committed corpus, over every prefix of it, and with every bit of it bent.

use std::fs;
use std::path::Path;

#[path = "bodies/flow_records.rs"]
mod flow_records;
#[path = "bodies/leg_header.rs"]
mod leg_header;
#[path = "bodies/local_message.rs"]
mod local_message;

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
fn local_message_corpus() {
    replay("local_message", local_message::run);
}

#[test]
fn leg_header_corpus() {
    replay("leg_header", leg_header::run);
}

#[test]
fn flow_records_corpus() {
    replay("flow_records", flow_records::run);
}
