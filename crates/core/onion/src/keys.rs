//! Keys and names: a relay's onion key, which interval it belongs to, and what a client knows of a relay.

use identity::NodeId;
pub use identity::{OnionKey, OnionSecret};
use std::fmt;
use wire::packet::PacketSize;
use zeroize::Zeroizing;

/// The number of a directory's interval. A relay's onion key lives for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interval(pub u64);

impl Interval {
    /// No interval: under this number a directory node answers with its one lasting key, and only as the single hop of a circuit.
    /// Whoever comes with an old invitation knows no other key of it.
    pub const LASTING: Self = Self(u64::MAX);
}

/// What all nodes of one network have in common and every handshake binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The network's id.
    pub id: [u8; 32],
    /// P, network-wide.
    pub packet_size: PacketSize,
}

/// The onion keys that a relay answers under: of the present interval, of the one before, and of the next one if it is there already.
/// A client may have the next document before the relay does.
#[derive(Debug, Clone)]
pub struct OnionKeys {
    present: (Interval, OnionSecret),
    previous: Option<(Interval, OnionSecret)>,
    next: Option<(Interval, OnionSecret)>,
    /// Of [`Interval::LASTING`], at a directory node.
    lasting: Option<OnionSecret>,
}

impl OnionKeys {
    /// A relay's first key.
    pub fn new(interval: Interval, secret: OnionSecret) -> Self {
        Self { present: (interval, secret), previous: None, next: None, lasting: None }
    }

    /// The same with a key that no interval ends, or without one.
    #[must_use]
    pub fn with_lasting(self, lasting: Option<OnionSecret>) -> Self {
        Self { lasting, ..self }
    }

    /// The same with the key of a later interval, or without one.
    #[must_use]
    pub fn with_next(self, next: Option<(Interval, OnionSecret)>) -> Self {
        let is_later =
            |(interval, _): &(Interval, OnionSecret)| *interval > self.present.0 && *interval != Interval::LASTING;
        Self { next: next.filter(is_later), ..self }
    }

    /// A new interval: its key is the present one, and the present one becomes the previous one, which goes.
    /// An interval that is not above the present one, or is none, changes nothing.
    pub fn rotate(&mut self, interval: Interval, secret: OnionSecret) {
        if interval > self.present.0 && interval != Interval::LASTING {
            self.previous = Some(std::mem::replace(&mut self.present, (interval, secret)));
            self.next.take_if(|(next, _)| *next <= interval);
        }
    }

    /// The key of an interval, if it is one of these, or the lasting one.
    pub(crate) fn of(&self, interval: Interval) -> Option<&OnionSecret> {
        if interval == Interval::LASTING {
            return self.lasting.as_ref();
        }
        let known = [Some(&self.present), self.previous.as_ref(), self.next.as_ref()];
        known.into_iter().flatten().find(|(of, _)| *of == interval).map(|(_, secret)| secret)
    }
}

/// What a client knows of a relay that it extends to, from the network's document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RelaySpec {
    /// The relay's name.
    pub node_id: NodeId,
    /// Its onion key of `interval`.
    pub onion_key: OnionKey,
    /// The interval of the document.
    pub interval: Interval,
}

impl fmt::Debug for RelaySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelaySpec(..)")
    }
}

/// A key that both ends of a hop handshake have and use for nothing else: what binds a message outside of the circuit
/// to it. Compared and hashed by those who use it; never sent.
#[derive(Clone)]
pub struct BindingKey(pub(crate) Zeroizing<[u8; 32]>);

impl BindingKey {
    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindingKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> OnionSecret {
        OnionSecret::from_bytes([byte; 32])
    }

    #[test]
    fn two_intervals_are_accepted() {
        let mut keys = OnionKeys::new(Interval(7), secret(7));
        let accepted =
            |keys: &OnionKeys| (5..12).filter(|number| keys.of(Interval(*number)).is_some()).collect::<Vec<_>>();
        assert_eq!(accepted(&keys), [7]);
        keys.rotate(Interval(8), secret(8));
        assert_eq!(accepted(&keys), [7, 8]);
        keys.rotate(Interval(8), secret(9));
        assert_eq!(keys.of(Interval(8)).map(OnionSecret::onion_key), Some(secret(8).onion_key()));
        keys.rotate(Interval(10), secret(10));
        assert_eq!(accepted(&keys), [8, 10]);
        keys.rotate(Interval::LASTING, secret(11));
        assert_eq!(accepted(&keys), [8, 10]);
        assert!(keys.of(Interval::LASTING).is_none());
        let keys = keys.with_lasting(Some(secret(12)));
        assert_eq!(accepted(&keys), [8, 10]);
        assert_eq!(keys.of(Interval::LASTING).map(OnionSecret::onion_key), Some(secret(12).onion_key()));
    }

    #[test]
    fn debug_shows_no_key() {
        let spec = RelaySpec { node_id: NodeId([1; 32]), onion_key: secret(1).onion_key(), interval: Interval(1) };
        let binding = BindingKey(Zeroizing::new([1; 32]));
        let shown = format!("{:?} {:?} {:?} {spec:?} {binding:?}", secret(1), secret(1).onion_key(), spec.node_id);
        assert_eq!(shown, "OnionSecret(..) OnionKey(..) NodeId(..) RelaySpec(..) BindingKey(..)");
    }

    #[test]
    fn the_key_of_the_next_interval_is_good_before_that_begins() {
        let next = |number| Some((Interval(number), secret(number as u8)));
        let mut keys = OnionKeys::new(Interval(7), secret(7)).with_next(next(8));
        assert!(keys.of(Interval(8)).is_some() && keys.of(Interval(9)).is_none());
        assert!(keys.clone().with_next(next(7)).of(Interval(8)).is_none(), "only a later one is next");
        keys.rotate(Interval(8), secret(18));
        assert_eq!(
            keys.of(Interval(8)).map(|secret| *secret.expose()),
            Some([18; 32]),
            "the present one is asked first"
        );
        assert!(keys.next.is_none());
    }
}
