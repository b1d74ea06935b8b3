//! The fuzz bodies: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::charter::Charter;
use crate::document::{Draft, NetworkDocument};
use crate::{DocumentError, OnionKeyFile, OnionKeyFileError};

/// Any bytes are a document or refused. What is read is written again as it came; a refusal names a line that is there, or the
/// one behind the last. Signatures are only looked at in a second reading, so that inputs which nobody signed get far.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn network_document(input: &[u8]) {
    let lines = input.iter().filter(|byte| **byte == b'\n').count();
    let in_sight = |error: &DocumentError| (1..=lines + 1).contains(&error.line);
    let unverified = Draft::read(input, false);
    match &unverified {
        Ok(draft) => assert_eq!(draft.text().as_bytes(), input, "a document is written as it was read"),
        Err(error) => assert!(in_sight(error), "{error}"),
    }
    match NetworkDocument::parse(input) {
        Ok(document) => assert_eq!(Ok(document.as_draft()), unverified.as_ref(), "a good document is a draft"),
        Err(error) => assert!(in_sight(&error), "{error}"),
    }
    match Charter::parse(input) {
        Ok(charter) => assert_eq!(charter.text().as_bytes(), input, "a charter is written as it was read"),
        Err(error) => assert!(in_sight(&error), "{error}"),
    }
}

/// Any text is a file of onion secrets or refused; a refusal names a line that is there.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn onion_key_file(input: &[u8]) {
    use OnionKeyFileError as Error;
    let Ok(text) = std::str::from_utf8(input) else { return };
    match OnionKeyFile::parse(text) {
        Ok(file) => {
            let again = OnionKeyFile::parse(&file.reveal()).map(|again| again.reveal());
            assert_eq!(again.as_ref(), Ok(&file.reveal()), "a printed file parses");
        }
        Err(Error::Line { line } | Error::Key { line, .. } | Error::TooMany { line }) => {
            assert!((1..=text.lines().count()).contains(&line), "line {line} is in the file");
        }
        Err(Error::Header) => {}
    }
}
