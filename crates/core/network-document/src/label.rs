//! Names that people give.

use crate::error::Problem;
use std::fmt;

/// Characters of a label at most.
const LABEL_MAX: usize = 63;

/// A name of 1 to 63 letters a to z, digits, dots and hyphens: of a network, or of who runs a relay.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// Takes a text as it stands behind `keyword`.
    ///
    /// # Errors
    /// [`Problem::Value`] when it is no label.
    pub fn new(text: &str, keyword: &'static str) -> Result<Self, Problem> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if text.is_empty() || text.len() > LABEL_MAX || !text.bytes().all(allowed) {
            return Err(Problem::Value { keyword, rule: "1 to 63 letters a to z, digits, `.` and `-`" });
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({})", self.0)
    }
}
