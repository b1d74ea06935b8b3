//! The fuzz body: run by libFuzzer and, over the committed corpus, by `cargo test`.

use crate::{Guards, GuardsFileError};
use network_document::NetworkId;

/// Any text is a guards file or refused. What is read is written again as it came; a refusal names a line that is there, or the one
/// behind the last.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn guards_file(input: &[u8]) {
    use GuardsFileError as Error;
    let Ok(text) = std::str::from_utf8(input) else { return };
    let line = match Guards::parse(text, NetworkId([7; 32])) {
        Ok(guards) => {
            assert_eq!(guards.text(), text, "a file is written as it was read");
            return;
        }
        Err(Error::Header) => 1,
        Err(Error::OtherNetwork) => 2,
        Err(Error::Primaries) => 3,
        Err(Error::Line { line } | Error::Order { line } | Error::TooMany { line } | Error::Cut { line }) => line,
        Err(Error::Key { line, .. }) => line,
    };
    assert!((1..=text.lines().count() + 1).contains(&line), "line {line} is in the file or behind it");
}
