//! The key file: the three secrets of a node, one a line.
//!
//! ```text
//! hushwire-keys 1
//! node-secret hwsn1...
//! link-secret hwsl1...
//! door-key hwd1...
//! ```

use crate::keys::{DoorKey, LinkSecret, NodeSecret};
use crate::peer::{PeerAddress, PeerString};
use crate::text::KeyTextError;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use zeroize::Zeroizing;

/// First line that is neither blank nor a comment.
const HEADER: &str = "hushwire-keys 1";
/// Names of the three lines behind it.
const NAMES: [&str; 3] = ["node-secret", "link-secret", "door-key"];

/// All secrets of a node, as they stand in its key file.
#[derive(Clone)]
pub struct KeyFile {
    /// The node's name and word.
    pub node_secret: NodeSecret,
    /// The static key of its links.
    pub link_secret: LinkSecret,
    /// What its peers must know to be answered.
    pub door_key: DoorKey,
}

/// Why a text is not a key file. Line numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyFileError {
    /// The first line is not the header of this version.
    #[error("it does not begin with `{HEADER}`")]
    Header,
    /// A line is neither blank, nor a comment, nor one of the three keys.
    #[error("line {line} is not `node-secret`, `link-secret` or `door-key` with one value")]
    Line {
        /// Its number.
        line: usize,
    },
    /// A key is there twice.
    #[error("line {line} repeats `{name}`")]
    Twice {
        /// Number of the second one.
        line: usize,
        /// Which key.
        name: &'static str,
    },
    /// A key is not there.
    #[error("`{name}` is missing")]
    Missing {
        /// Which key.
        name: &'static str,
    },
    /// A key is damaged.
    #[error("`{name}` in line {line} is wrong: {error}")]
    Key {
        /// Its line.
        line: usize,
        /// Which key.
        name: &'static str,
        /// What is wrong with it.
        error: KeyTextError,
    },
}

impl KeyFile {
    /// Makes the keys of a new node from three pieces of a cryptographic random source.
    pub fn from_random(random: [[u8; 32]; 3]) -> Self {
        let [node, link, door] = random;
        Self {
            node_secret: NodeSecret::from_seed(node),
            link_secret: LinkSecret::from_bytes(link),
            door_key: DoorKey::from_bytes(door),
        }
    }

    /// Reads a key file. Blank lines and lines that begin with `#` are ignored.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let lines = text.lines().map(str::trim).enumerate();
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err(KeyFileError::Header);
        }
        let mut found: [Option<(usize, &str)>; 3] = [None; 3];
        for (index, text) in lines {
            let line = index + 1;
            let (name, value) = text.split_once(char::is_whitespace).ok_or(KeyFileError::Line { line })?;
            let which = NAMES.iter().position(|known| *known == name).ok_or(KeyFileError::Line { line })?;
            if found[which].replace((line, value.trim())).is_some() {
                return Err(KeyFileError::Twice { line, name: NAMES[which] });
            }
        }
        Ok(Self { node_secret: key(&found, 0)?, link_secret: key(&found, 1)?, door_key: key(&found, 2)? })
    }

    /// The whole file, with a comment that says how to keep it. It is the secrets.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(HEADER);
        text.push_str("\n# The secrets of one Hushwire node. Keep this file to yourself (mode 0600).\n");
        let values = [self.node_secret.reveal(), self.link_secret.reveal(), self.door_key.reveal()];
        for (name, value) in NAMES.iter().zip(&values) {
            text.push_str(name);
            text.push(' ');
            text.push_str(value);
            text.push('\n');
        }
        text
    }

    /// What the other node of the pair must be given.
    pub fn peer_string(&self, address: Option<PeerAddress>) -> PeerString {
        PeerString {
            node_id: self.node_secret.node_id(),
            link_key: self.link_secret.link_key(),
            door_key: self.door_key.clone(),
            address,
        }
    }
}

fn key<K: FromStr<Err = KeyTextError>>(found: &[Option<(usize, &str)>; 3], which: usize) -> Result<K, KeyFileError> {
    let name = NAMES[which];
    let (line, value) = found[which].ok_or(KeyFileError::Missing { name })?;
    value.parse().map_err(|error| KeyFileError::Key { line, name, error })
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        KeyFile::from_random([[1; 32], [2; 32], [3; 32]]).reveal().to_string()
    }

    #[test]
    fn a_key_file_survives_a_round_trip() {
        let keys = KeyFile::parse(&text()).expect("a printed file");
        assert_eq!(keys.node_secret.expose(), &[1; 32]);
        assert_eq!(keys.link_secret.expose(), &[2; 32]);
        assert_eq!(keys.door_key.expose(), &[3; 32]);
        assert_eq!(*keys.reveal(), text());
        assert_eq!(keys.peer_string(None).node_id, keys.node_secret.node_id());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let refused = |text: &str| KeyFile::parse(text).expect_err("a mistake");
        assert_eq!(refused(""), KeyFileError::Header);
        assert_eq!(refused(&text().replace("keys 1", "keys 2")), KeyFileError::Header);
        assert_eq!(refused(&text().replace("door-key", "front-door")), KeyFileError::Line { line: 5 });
        assert_eq!(refused(&format!("{}junk\n", text())), KeyFileError::Line { line: 6 });
        let doubled = format!("{0}{1}", text(), text().lines().last().expect("a line"));
        assert_eq!(refused(&doubled), KeyFileError::Twice { line: 6, name: "door-key" });
        let cut: String = text().lines().take(4).map(|line| format!("{line}\n")).collect();
        assert_eq!(refused(&cut), KeyFileError::Missing { name: "door-key" });
        let wrong = text().replace("hwsl1", "hwsl1a");
        assert_eq!(
            refused(&wrong),
            KeyFileError::Key { line: 4, name: "link-secret", error: KeyTextError::Length { found: 57 } }
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = KeyFile::from_random([[1; 32], [2; 32], [3; 32]]);
        assert_eq!(format!("{keys:?}"), "KeyFile(..)");
    }
}
