//! What the two ends of a hop agree on: version, position, features (docs/spec/onion.md, "Hello and welcome").

use crate::layer::Position;

/// Bytes of a hello.
pub(super) const HELLO_LEN: usize = 16;
/// Bytes of a welcome.
pub(super) const WELCOME_LEN: usize = 16;

/// Lowest version of layers and control messages that this crate speaks.
const VERSION_MIN: u8 = 1;
/// Highest version of layers and control messages that this crate speaks.
const VERSION_MAX: u8 = 1;

/// What may be used on a circuit beside cells: one bit each, whose meaning belongs to the crates above. A bit counts on a
/// hop when both ends have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(pub u32);

impl Features {
    /// Circuits that end at the hop can be linked into tunnels: `docs/spec/linking.md`.
    pub const LINKING: Self = Self(1);
    /// The hop can be a rendezvous point and an introduction point: `docs/spec/onion.md`, section 9.
    pub const RENDEZVOUS: Self = Self(2);

    /// True when it has all of these.
    pub fn has(self, others: Self) -> bool {
        self.common(others) == others
    }

    /// Those that either has.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that both have.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    versions: (u8, u8),
    position: Position,
    features: Features,
}

impl Hello {
    /// The hello of this version of the crate.
    pub(crate) fn new(position: Position, features: Features) -> Self {
        Self { versions: (VERSION_MIN, VERSION_MAX), position, features }
    }

    /// Another range of versions.
    #[cfg(test)]
    pub(crate) fn with_versions(self, versions: (u8, u8)) -> Self {
        Self { versions, ..self }
    }

    pub(super) fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..3].copy_from_slice(&[self.versions.0, self.versions.1, self.position.number()]);
        bytes[4..8].copy_from_slice(&self.features.0.to_be_bytes());
        bytes
    }

    /// `None` when the position is none. What is zero in this version is not looked at.
    pub(super) fn decode(bytes: &[u8; HELLO_LEN]) -> Option<Self> {
        let [low, high, position, _, a, b, c, d, ..] = *bytes;
        let features = Features(u32::from_be_bytes([a, b, c, d]));
        Some(Self { versions: (low, high), position: Position::new(position)?, features })
    }

    /// True for a hop next to the client.
    pub(super) fn is_first(&self) -> bool {
        self.position == Position::FIRST
    }

    /// The highest version that both speak, and what else is agreed; `None` when there is no such version.
    pub(super) fn answer(&self, features: Features) -> Option<Answered> {
        let version = self.versions.1.min(VERSION_MAX);
        let features = self.features.common(features);
        let welcome = Welcome { refused: false, version, features };
        (version >= self.versions.0.max(VERSION_MIN)).then_some(Answered { position: self.position, welcome })
    }
}

/// What a relay makes of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Where on the circuit the relay is.
    pub(crate) position: Position,
    /// What it says.
    pub(crate) welcome: Welcome,
}

/// What a relay answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// True when there is no hop: no version or position that the relay knows.
    pub(crate) refused: bool,
    /// The version of the hop; in a refusal the relay's highest one.
    pub(crate) version: u8,
    /// What both ends have.
    pub(crate) features: Features,
}

impl Welcome {
    pub(super) const VERSION_REFUSED: Self = Self { refused: true, version: VERSION_MAX, features: Features(0) };

    pub(super) fn encode(&self) -> [u8; WELCOME_LEN] {
        let mut bytes = [0; WELCOME_LEN];
        bytes[..2].copy_from_slice(&[u8::from(self.refused), self.version]);
        bytes[4..8].copy_from_slice(&self.features.0.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; WELCOME_LEN]) -> Self {
        let [refused, version, _, _, a, b, c, d, ..] = *bytes;
        Self { refused: refused != 0, version, features: Features(u32::from_be_bytes([a, b, c, d])) }
    }

    /// True when a client of this version can use the hop.
    pub(crate) fn is_accepted(&self, offered: Features) -> bool {
        let known = (VERSION_MIN..=VERSION_MAX).contains(&self.version);
        !self.refused && known && self.features.common(offered) == self.features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(versions: (u8, u8)) -> Hello {
        let position = Position::new(2).expect("one of three");
        Hello::new(position, Features(0b0110)).with_versions(versions)
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        for (versions, common) in
            [((1, 1), Some(1)), ((1, 9), Some(1)), ((0, 1), Some(1)), ((2, 9), None), ((0, 0), None)]
        {
            let answered = hello(versions).answer(Features(0b0011));
            assert_eq!(answered.map(|answered| answered.welcome.version), common, "{versions:?}");
            if let Some(answered) = answered {
                assert_eq!(answered.welcome.features, Features(0b0010));
                assert!(answered.welcome.is_accepted(Features(0b0110)));
            }
        }
        assert!(!Welcome::VERSION_REFUSED.is_accepted(Features(0)));
    }

    #[test]
    fn a_relay_cannot_agree_to_more_than_was_offered() {
        let welcome = Welcome { refused: false, version: 1, features: Features(0b1010) };
        assert!(!welcome.is_accepted(Features(0b0110)));
        assert!(!Welcome { version: 2, ..welcome }.is_accepted(Features(0b1010)));
    }

    #[test]
    fn both_survive_a_round_trip() {
        let hello = hello((1, 3));
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        let welcome = Welcome { refused: false, version: 1, features: Features(0xdead_beef) };
        assert_eq!(Welcome::decode(&welcome.encode()), welcome);
        for position in [0, 4, 255] {
            let mut bytes = hello.encode();
            bytes[2] = position;
            assert_eq!(Hello::decode(&bytes), None);
        }
    }
}
