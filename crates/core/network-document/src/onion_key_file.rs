//! The file of a relay's onion secrets, one interval a line.
//!
//! ```text
//! hushwire-onion-keys 1
//! onion-secret 7 hwso1...
//! lasting-secret hwso1...
//! ```

use identity::{KeyTextError, OnionSecret};
use onion::{Interval, OnionKeys};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// Secrets of a file at most: of the previous, the present and the next interval.
pub const SECRETS_MAX: usize = 3;
const HEADER: &str = "hushwire-onion-keys 1";
/// Before the secret that no interval ends.
const LASTING: &str = "lasting-secret ";

/// Why a text is not an onion key file. Line numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OnionKeyFileError {
    /// The first line is not the header of this version.
    #[error("it does not begin with `{HEADER}`")]
    Header,
    /// A line is neither blank, nor a comment, nor a secret.
    #[error("line {line} is not `onion-secret`, the number of an interval and a secret")]
    Line {
        /// Its number.
        line: usize,
    },
    /// A secret is damaged.
    #[error("the secret in line {line} is wrong: {error}")]
    Key {
        /// Its line.
        line: usize,
        /// What is wrong with it.
        error: KeyTextError,
    },
    /// An interval is there twice, or there are more than [`SECRETS_MAX`].
    #[error("line {line} is one too many: at most {SECRETS_MAX} secrets, each of another interval")]
    TooMany {
        /// Its number.
        line: usize,
    },
}

/// The onion secrets of a relay.
#[derive(Clone, Default)]
pub struct OnionKeyFile {
    secrets: BTreeMap<Interval, OnionSecret>,
    lasting: Option<OnionSecret>,
}

impl OnionKeyFile {
    /// Reads a file. Blank lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// When it is no such file.
    pub fn parse(text: &str) -> Result<Self, OnionKeyFileError> {
        let lines = text.lines().map(str::trim).enumerate();
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if lines.next().map(|(_, line)| line) != Some(HEADER) {
            return Err(OnionKeyFileError::Header);
        }
        let (mut secrets, mut lasting) = (BTreeMap::new(), None);
        for (index, text) in lines {
            let line = index + 1;
            if let Some(secret) = text.strip_prefix(LASTING) {
                let secret = secret.trim().parse().map_err(|error| OnionKeyFileError::Key { line, error })?;
                if lasting.replace(secret).is_some() {
                    return Err(OnionKeyFileError::TooMany { line });
                }
                continue;
            }
            let mut words = text.split_whitespace();
            let (Some("onion-secret"), Some(interval), Some(secret), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(OnionKeyFileError::Line { line });
            };
            let interval = interval.parse().ok().filter(|interval| *interval != Interval::LASTING.0);
            let interval = interval.ok_or(OnionKeyFileError::Line { line })?;
            let secret = secret.parse().map_err(|error| OnionKeyFileError::Key { line, error })?;
            if secrets.len() >= SECRETS_MAX || secrets.insert(Interval(interval), secret).is_some() {
                return Err(OnionKeyFileError::TooMany { line });
            }
        }
        Ok(Self { secrets, lasting })
    }

    /// The whole file. It is the secrets.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(HEADER);
        text.push_str("\n# The onion secrets of one relay. Keep this file to yourself (mode 0600).\n");
        for (interval, secret) in &self.secrets {
            text.push_str(&format!("onion-secret {} ", interval.0));
            text.push_str(&secret.reveal());
            text.push('\n');
        }
        if let Some(secret) = &self.lasting {
            text.push_str(LASTING);
            text.push_str(&secret.reveal());
            text.push('\n');
        }
        text
    }

    /// The secret of an interval, made of `random` (32 bytes of a cryptographic random source) if there is none yet. What is
    /// two intervals older or more goes, so that nobody can find it later; so does what is farther ahead than the next.
    pub fn prepare(&mut self, interval: Interval, random: [u8; 32]) -> &OnionSecret {
        let kept = interval.0.saturating_sub(1)..=interval.0.saturating_add(1);
        self.secrets.retain(|of, _| kept.contains(&of.0));
        self.secrets.entry(interval).or_insert_with(|| OnionSecret::from_bytes(random))
    }

    /// The secret of a directory node that no interval ends, made of `random` if there is none yet.
    pub fn prepare_lasting(&mut self, random: [u8; 32]) -> &OnionSecret {
        self.lasting.get_or_insert_with(|| OnionSecret::from_bytes(random))
    }

    /// The secret that no interval ends; only directory nodes have one.
    pub fn lasting(&self) -> Option<&OnionSecret> {
        self.lasting.as_ref()
    }

    /// The secret of an interval.
    pub fn of(&self, interval: Interval) -> Option<&OnionSecret> {
        self.secrets.get(&interval)
    }

    /// The secrets of the present interval and of the next one, each made of its `random` (as for [`OnionKeyFile::prepare`]) if there
    /// is none yet. The one before the present stays; all others go. True when any came or went.
    pub fn renew(&mut self, present: Interval, random: [[u8; 32]; 2]) -> bool {
        let before: Vec<Interval> = self.secrets.keys().copied().collect();
        let [of_present, of_next] = random;
        self.prepare(present, of_present);
        let next = Interval(present.0.saturating_add(1));
        self.secrets.entry(next).or_insert_with(|| OnionSecret::from_bytes(of_next));
        !self.secrets.keys().eq(&before)
    }

    /// What a relay answers under while `interval` is the present one; `None` without its secret.
    pub fn keys(&self, interval: Interval) -> Option<OnionKeys> {
        let present = self.of(interval)?.clone();
        let before = interval.0.checked_sub(1).map(Interval);
        let before = before.and_then(|before| Some((before, self.of(before)?.clone())));
        let keys = match before {
            None => OnionKeys::new(interval, present),
            Some((before, previous)) => {
                let mut keys = OnionKeys::new(before, previous);
                keys.rotate(interval, present);
                keys
            }
        };
        let next = Interval(interval.0.saturating_add(1));
        let next = self.of(next).map(|secret| (next, secret.clone()));
        Some(keys.with_next(next).with_lasting(self.lasting.clone()))
    }
}

impl fmt::Debug for OnionKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionKeyFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_go_when_they_are_old() {
        let mut file = OnionKeyFile::default();
        let first = *file.prepare(Interval(7), [1; 32]).expose();
        assert_eq!(file.prepare(Interval(7), [2; 32]).expose(), &first, "it was there");
        file.prepare(Interval(8), [2; 32]);
        assert!(file.of(Interval(7)).is_some() && file.keys(Interval(8)).is_some());
        file.prepare(Interval(9), [3; 32]);
        assert!(file.of(Interval(7)).is_none() && file.of(Interval(8)).is_some());
        assert!(file.keys(Interval(7)).is_none() && file.keys(Interval(10)).is_none());
        file.prepare(Interval(5), [4; 32]);
        assert!(file.of(Interval(9)).is_none(), "what is too far ahead goes too");
    }

    #[test]
    fn a_relay_has_the_secrets_of_three_intervals() {
        let mut file = OnionKeyFile::default();
        assert!(file.renew(Interval(7), [[1; 32], [2; 32]]));
        assert!(!file.renew(Interval(7), [[3; 32], [4; 32]]), "they are there");
        assert!(file.renew(Interval(8), [[5; 32], [6; 32]]));
        let secrets = [6, 7, 8, 9, 10].map(|interval| file.of(Interval(interval)).map(|secret| *secret.expose()));
        assert_eq!(secrets, [None, Some([1; 32]), Some([2; 32]), Some([6; 32]), None]);
        assert!(file.renew(Interval(9), [[7; 32], [8; 32]]));
        assert!(file.of(Interval(7)).is_none() && file.keys(Interval(9)).is_some());
        assert!(OnionKeyFile::parse(&file.reveal()).is_ok(), "as many as a file may have");
    }

    #[test]
    fn a_file_survives_a_round_trip_and_mistakes_have_a_line() {
        let mut file = OnionKeyFile::default();
        file.prepare(Interval(7), [1; 32]);
        file.prepare(Interval(8), [2; 32]);
        let text = file.reveal().to_string();
        let again = OnionKeyFile::parse(&text).expect("a printed file");
        assert_eq!(*again.reveal(), text);
        let refused = |text: &str| OnionKeyFile::parse(text).expect_err("a mistake");
        assert_eq!(refused("x"), OnionKeyFileError::Header);
        assert_eq!(refused(&format!("{text}onion-secret x y\n")), OnionKeyFileError::Line { line: 5 });
        let doubled = format!("{text}{}\n", text.lines().last().expect("a line"));
        assert_eq!(refused(&doubled), OnionKeyFileError::TooMany { line: 5 });
        let cut = text.trim_end().rsplit_once('a').map_or("", |(front, _)| front);
        assert!(matches!(
            refused(cut),
            OnionKeyFileError::Key { line: 4, .. } | OnionKeyFileError::Key { line: 3, .. }
        ));
        assert_eq!(format!("{file:?}"), "OnionKeyFile(..)");
        assert_eq!(
            refused(&text.replace("onion-secret 8 ", &format!("onion-secret {} ", u64::MAX))),
            OnionKeyFileError::Line { line: 4 }
        );
    }

    #[test]
    fn a_lasting_secret_outlives_all_intervals() {
        let mut file = OnionKeyFile::default();
        file.prepare(Interval(7), [1; 32]);
        assert!(file.lasting().is_none());
        let lasting = *file.prepare_lasting([9; 32]).expose();
        assert_eq!(file.prepare_lasting([8; 32]).expose(), &lasting, "it was there");
        file.prepare(Interval(70), [2; 32]);
        let text = file.reveal().to_string();
        let again = OnionKeyFile::parse(&text).expect("a printed file");
        assert_eq!(
            (again.reveal().as_str(), again.lasting().map(|secret| *secret.expose())),
            (text.as_str(), Some(lasting))
        );
        let line = text.lines().last().expect("the lasting one");
        assert!(line.starts_with("lasting-secret hwso1"), "{}", line.len());
        let twice = OnionKeyFile::parse(&format!("{text}{line}\n")).expect_err("twice");
        assert_eq!(twice, OnionKeyFileError::TooMany { line: 5 });
    }
}
