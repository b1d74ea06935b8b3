//! The newest stretches of a pair.

use super::Delivery;
use std::collections::VecDeque;
use std::time::Duration;

/// Stretches kept: 3.2 s at 50 ms each. When full, the oldest goes.
const SAMPLES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Delivery>);

/// Several stretches together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) span: Duration,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// There was demand in all of it.
    pub(super) limited: bool,
}

impl Stretch {
    const EMPTY: Self = Self { span: Duration::ZERO, sent: 0, received: 0, lost: 0, limited: true };

    fn with(self, delivery: &Delivery) -> Self {
        let received = delivery.received.min(delivery.sent);
        Self {
            span: self.span.saturating_add(delivery.span),
            sent: self.sent.saturating_add(delivery.sent),
            received: self.received.saturating_add(received),
            lost: self.lost.saturating_add(delivery.sent - received),
            limited: self.limited && delivery.limited,
        }
    }

    /// Share of the packets that were lost; 0 if none was sent.
    pub(super) fn loss(self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Packets a second that came.
    pub(super) fn rate(self) -> f64 {
        self.received as f64 / self.span.as_secs_f64()
    }
}

impl Samples {
    pub(super) fn push(&mut self, delivery: Delivery) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(delivery);
    }

    /// The newest stretches that make up at least `span` and `packets` sent, in two halves by time, the older one
    /// first; `None` while there are not enough. A single long stretch is both halves.
    pub(super) fn halves(&self, span: Duration, packets: u64) -> Option<(Stretch, Stretch)> {
        let (mut newer, mut older) = (Stretch::EMPTY, Stretch::EMPTY);
        for delivery in self.0.iter().rev() {
            if newer.span >= span / 2 && newer.sent >= packets / 2 {
                older = older.with(delivery);
            } else {
                newer = newer.with(delivery);
            }
            if newer.span.saturating_add(older.span) >= span && newer.sent.saturating_add(older.sent) >= packets {
                return Some((if older.span.is_zero() { newer } else { older }, newer));
            }
        }
        None
    }

    /// The newest stretches that make up at least `span`; `None` while there are not enough.
    pub(super) fn tail(&self, span: Duration) -> Option<Stretch> {
        let mut whole = Stretch::EMPTY;
        self.0.iter().rev().find_map(|delivery| {
            whole = whole.with(delivery);
            (whole.span >= span).then_some(whole)
        })
    }
}
