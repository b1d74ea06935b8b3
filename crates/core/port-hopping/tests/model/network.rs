//! The network between the ends: what becomes of a packet.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What stands between the initiator and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Translator {
    /// Nothing.
    None,
    /// A mapping for each port of the initiator, to the same number as long as nothing is forgotten.
    KeepsPorts,
    /// A mapping for each pair, to any number.
    Symmetric,
}

/// What the network does.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) loss_per_mille: u32,
    /// Each packet is late by up to this, so that packets overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) translator: Translator,
    /// Ports of the responder that nothing comes through to.
    pub(crate) blocked: BTreeSet<u16>,
    /// So long after its first packet a pair of ports loses 49 of 50.
    pub(crate) throttle_after: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        let (blocked, translator) = (BTreeSet::new(), Translator::None);
        Self { loss_per_mille: 0, jitter: Duration::ZERO, translator, blocked, throttle_after: None }
    }
}

/// Ports on the wire: of the initiator's side (translated), and of the responder.
pub(crate) type WirePair = (u16, u16);

pub(crate) struct Network {
    pub(crate) rules: Rules,
    rng: ChaCha20Rng,
    first_seen: BTreeMap<WirePair, Duration>,
    /// Wire port by inner port and responder's port (0 for all of them).
    translations: BTreeMap<(u16, u16), u16>,
    next_wire_port: u16,
}

impl Network {
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed ^ 0x6e65_7477_6f72_6b21);
        Self { rules, rng, first_seen: BTreeMap::new(), translations: BTreeMap::new(), next_wire_port: 51_000 }
    }

    /// The wire port of a packet from the initiator.
    pub(crate) fn translate_out(&mut self, inner: u16, responder: u16) -> u16 {
        let key = match self.rules.translator {
            Translator::None => return inner,
            Translator::KeepsPorts => (inner, 0),
            Translator::Symmetric => (inner, responder),
        };
        if let Some(wire) = self.translations.get(&key) {
            return *wire;
        }
        self.next_wire_port = 51_000 + (self.next_wire_port - 51_000 + 1) % 14_000;
        self.translations.insert(key, self.next_wire_port);
        self.next_wire_port
    }

    /// The initiator's port that a packet for a wire port goes to, if the translator knows it.
    pub(crate) fn translate_in(&self, wire: u16, responder: u16) -> Option<u16> {
        let found = |key: &(u16, u16)| key.1 == 0 || key.1 == responder;
        match self.rules.translator {
            Translator::None => Some(wire),
            _ => self.translations.iter().find(|(key, known)| **known == wire && found(key)).map(|(key, _)| key.0),
        }
    }

    pub(crate) fn forget_translations(&mut self) {
        self.translations.clear();
    }

    /// How late a packet is, on top of the path's delay; `None` if it is lost.
    pub(crate) fn carry(&mut self, at: Duration, pair: WirePair) -> Option<Duration> {
        let first = *self.first_seen.entry(pair).or_insert(at);
        let throttled = self.rules.throttle_after.is_some_and(|after| at >= first + after);
        let lost = self.rng.next_u32() % 1_000 < self.rules.loss_per_mille;
        let through = self.rng.next_u32().is_multiple_of(50);
        let late = self.rules.jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
        (!lost && !self.rules.blocked.contains(&pair.1) && (!throttled || through)).then_some(late)
    }
}
