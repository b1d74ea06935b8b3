//! Runs the fuzz target's body over the committed corpus.

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
