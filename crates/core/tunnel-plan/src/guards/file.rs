//! The file of a client's guards.
//!
//! ```text
//! hushwire-guards 1
//! network 6a09...
//! primaries 2
//! added 1764374400
//! guard hwn1... until 1770000000 confirmed 1764374460
//! ```

use super::{GUARDS_MAX, Guard, Guards, LIFETIME_S};
use crate::rules::LEGS_MAX;
use identity::{KeyTextError, NodeId};
use network_document::NetworkId;
use std::fmt::Write as _;
use thiserror::Error;

const HEADER: &str = "hushwire-guards 1";

/// Why a text is no guards file. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GuardsFileError {
    /// The first line is not the header of this version.
    #[error("line 1 is not `{HEADER}`; a file of another version or kind")]
    Header,
    /// The guards are of another network.
    #[error("line 2 is not the line `network` of this network: the file belongs to another one, and each has its own")]
    OtherNetwork,
    /// The number of primary guards is none.
    #[error("line 3 is not `primaries` and a number from 1 to {LEGS_MAX}")]
    Primaries,
    /// A line is neither an addition nor a guard, or is written in another way.
    #[error(
        "line {line} is neither `added` and a time nor `guard`, a node id and its times, each written as this program does"
    )]
    Line {
        /// Its number.
        line: usize,
    },
    /// The name of a guard is damaged.
    #[error("the node id in line {line} is wrong: {error}")]
    Key {
        /// Its line.
        line: usize,
        /// What is wrong with it.
        error: KeyTextError,
    },
    /// Additions ascend, then guards follow: first those that were used, each once.
    #[error(
        "line {line} is out of order: `added` ascending, then guards with `confirmed`, ascending, then others, each guard once"
    )]
    Order {
        /// Its number.
        line: usize,
    },
    /// More than there may be.
    #[error("line {line} is one too many: there are at most {GUARDS_MAX} guards and {GUARDS_MAX} additions")]
    TooMany {
        /// Its number.
        line: usize,
    },
    /// The last line has no end: the file was cut.
    #[error("line {line} does not end with a line feed: the file was cut")]
    Cut {
        /// Its number.
        line: usize,
    },
}

impl Guards {
    /// The file. Whoever reads it learns through which relays this client enters: keep it to its owner (mode 0600).
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\nnetwork {}\nprimaries {}\n", self.network, self.primaries);
        for time in &self.added {
            let _fits = writeln!(text, "added {time}");
        }
        for guard in &self.guards {
            text.push_str(&guard.line());
        }
        text
    }

    /// Reads the file of one network, exactly as [`Guards::text`] writes it.
    ///
    /// # Errors
    /// When it is no such file; the error names a line. Guards are then lost only if the caller begins anew, which exposes the
    /// client to new ones: better ask whoever runs it.
    pub fn parse(text: &str, network: NetworkId) -> Result<Self, GuardsFileError> {
        let mut lines = text.split_inclusive('\n').zip(1..);
        if lines.next().map(|(line, _)| line.trim_end_matches('\n')) != Some(HEADER) {
            return Err(GuardsFileError::Header);
        }
        if lines.next().map(|(line, _)| line) != Some(&format!("network {network}\n")) {
            return Err(GuardsFileError::OtherNetwork);
        }
        let primaries = lines.next().and_then(|(line, _)| line.strip_prefix("primaries ")?.strip_suffix('\n'));
        let primaries = primaries.and_then(number).and_then(|number| u8::try_from(number).ok());
        let primaries = primaries.ok_or(GuardsFileError::Primaries)?;
        let mut guards = Self::new(network, primaries).map_err(|_| GuardsFileError::Primaries)?;
        for (text, line) in lines {
            let text = text.strip_suffix('\n').ok_or(GuardsFileError::Cut { line })?;
            guards.read(text, line)?;
        }
        Ok(guards)
    }

    fn read(&mut self, text: &str, line: usize) -> Result<(), GuardsFileError> {
        if let Some(time) = text.strip_prefix("added ") {
            let time = number(time).ok_or(GuardsFileError::Line { line })?;
            if !self.guards.is_empty() || self.added.last().is_some_and(|last| *last > time) {
                return Err(GuardsFileError::Order { line });
            }
            if self.added.len() >= GUARDS_MAX {
                return Err(GuardsFileError::TooMany { line });
            }
            self.added.push(time);
            return Ok(());
        }
        let guard = Guard::read(text, line)?;
        let last = self.guards.last().map(|last| last.confirmed_s.unwrap_or(u64::MAX));
        let twice = self.guards.iter().any(|other| other.node_id == guard.node_id);
        if twice || last.is_some_and(|last| last > guard.confirmed_s.unwrap_or(u64::MAX)) {
            return Err(GuardsFileError::Order { line });
        }
        if self.guards.len() >= GUARDS_MAX {
            return Err(GuardsFileError::TooMany { line });
        }
        self.guards.push(guard);
        Ok(())
    }
}

impl Guard {
    fn line(&self) -> String {
        let mut line = format!("guard {} until {}", self.node_id, self.until_s);
        for (word, time) in [("confirmed", self.confirmed_s), ("unlisted", self.unlisted_s)] {
            if let Some(time) = time {
                let _fits = write!(line, " {word} {time}");
            }
        }
        line.push('\n');
        line
    }

    fn read(text: &str, line: usize) -> Result<Self, GuardsFileError> {
        let wrong = GuardsFileError::Line { line };
        let mut words = text.split(' ');
        let (Some("guard"), Some(name), Some("until"), Some(until)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong);
        };
        let node_id: NodeId = name.parse().map_err(|error| GuardsFileError::Key { line, error })?;
        let until_s = number(until).ok_or(wrong)?;
        let mut guard = Self { node_id, until_s, confirmed_s: None, unlisted_s: None, failures: 0, retry_s: 0 };
        while let Some(word) = words.next() {
            let time = words.next().and_then(number).ok_or(wrong)?;
            match word {
                "confirmed" => guard.confirmed_s = Some(time),
                "unlisted" => guard.unlisted_s = Some(time),
                _ => return Err(wrong),
            }
        }
        // One way to write it: no word twice, none out of its place.
        if guard.line().strip_suffix('\n') == Some(text) { Ok(guard) } else { Err(wrong) }
    }
}

/// A time as it is written: digits without a zero in front, and with room for a lifetime.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok().filter(|number| *number < u64::MAX / 2 - LIFETIME_S.1)?;
    (number.to_string() == text).then_some(number)
}
