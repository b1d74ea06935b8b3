//! Runs the fuzz targets' bodies over the committed corpora.

#![allow(clippy::disallowed_methods, reason = "a test reads the corpus; the core opens no file")]

#[path = "bodies/session_control.rs"]
mod session_control;

use session::{ControlDecoder, Violation};
use std::fs;
use std::path::Path;

#[test]
fn session_control_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/session_control");
    let (mut files, mut messages, mut refused) = (0, 0, 0);
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        session_control::run(&bytes);
        let outcome = ControlDecoder::new().push(bytes.get(1..).unwrap_or_default(), |_| {
            messages += 1;
            Ok::<(), Violation>(())
        });
        files += 1;
        refused += u32::from(outcome.is_err());
    }
    assert!(files >= 20 && messages >= 12 && refused >= 8, "{files} files, {messages} messages, {refused} refused");
}

#[test]
fn session_datagram_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus/session_datagram");
    let start = std::time::Instant::now();
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let mut bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        session::fuzz::session_datagrams(&bytes, start);
        for place in 0..bytes.len() {
            bytes[place] ^= 0x03;
            session::fuzz::session_datagrams(&bytes, start);
            bytes[place] ^= 0x03;
        }
        files += 1;
    }
    assert!(files >= 5, "{files} files");
}
