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
fn directory_command_corpus() {
    replay("directory_command", 1, relay_directory::fuzz::directory_command);
}

#[test]
fn directory_message_corpus() {
    replay("directory_message", 7, relay_directory::fuzz::directory_message);
}

#[test]
fn directory_stream_corpus() {
    replay("directory_stream", 1, relay_directory::fuzz::directory_stream);
}

#[test]
fn directory_state_corpus() {
    replay("directory_state", 11, relay_directory::fuzz::directory_state);
}
