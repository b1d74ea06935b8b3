//! The newest stretches of a pair.

use super::{Delivery, Pace};
use std::collections::VecDeque;
use std::time::Duration;

/// Stretches kept, after short ones are put together: more than a judgement looks at. When full, the oldest goes.
pub(super) const SAMPLES_MAX: usize = 20;
/// A stretch of less than this, or of less than a quarter of a round trip, grows with the next one.
const SPAN_MIN: Duration = Duration::from_millis(50);
/// So does one of fewer packets: on slow links eight stretches must hold what is judged.
const PACKETS_MIN: u64 = 2;

#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Sample>);

/// A [`Delivery`] in 16 bytes; what does not fit is taken for the most that does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    span_us: u32,
    sent: u32,
    received: u32,
    pace: Pace,
}

impl Pace {
    /// That of two stretches together.
    fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Demand }
    }
}

impl Sample {
    /// Bytes of one.
    #[cfg(test)]
    pub(super) const LEN: usize = size_of::<Self>();

    fn new(delivery: Delivery) -> Self {
        let most = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let span_us = u32::try_from(delivery.span.as_micros()).unwrap_or(u32::MAX);
        let received = delivery.received.min(delivery.sent);
        Self { span_us, sent: most(delivery.sent), received: most(received), pace: delivery.pace }
    }

    fn span(self) -> Duration {
        Duration::from_micros(self.span_us.into())
    }

    fn join(&mut self, other: Self) {
        self.span_us = self.span_us.saturating_add(other.span_us);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.pace = self.pace.with(other.pace);
    }
}

/// Several stretches together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) span: Duration,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// What decided how much was sent.
    pub(super) pace: Pace,
}

impl Stretch {
    fn of(sample: Sample) -> Self {
        Self {
            span: sample.span(),
            sent: sample.sent.into(),
            received: sample.received.into(),
            lost: (sample.sent - sample.received).into(),
            pace: sample.pace,
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            span: self.span + other.span,
            sent: self.sent + other.sent,
            received: self.received + other.received,
            lost: self.lost + other.lost,
            pace: self.pace.with(other.pace),
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
    pub(super) fn push(&mut self, rtt: Duration, delivery: Delivery) {
        let sample = Sample::new(delivery);
        let short = |last: &&mut Sample| last.span() < SPAN_MIN.max(rtt / 4) || u64::from(last.sent) < PACKETS_MIN;
        match self.0.back_mut().filter(short) {
            Some(last) => last.join(sample),
            None => {
                if self.0.len() == SAMPLES_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(sample);
            }
        }
    }

    /// The newest stretches that make up at least `span` and `packets` sent, in two halves by time, the older one
    /// first; `None` while there are not enough. A single long stretch is both halves.
    pub(super) fn halves(&self, span: Duration, packets: u64) -> Option<(Stretch, Stretch)> {
        let mut stretches = self.0.iter().rev().map(|sample| Stretch::of(*sample));
        let (mut newer, mut older): (Stretch, Option<Stretch>) = (stretches.next()?, None);
        loop {
            let whole = older.map_or(newer, |older| newer.with(older));
            if whole.span >= span && whole.sent >= packets {
                return Some((older.unwrap_or(newer), newer));
            }
            let next = stretches.next()?;
            if newer.span >= span / 2 && newer.sent >= packets / 2 {
                older = Some(older.map_or(next, |older| older.with(next)));
            } else {
                newer = newer.with(next);
            }
        }
    }

    /// The newest stretches that make up at least `span`; `None` while there are not enough.
    pub(super) fn tail(&self, span: Duration) -> Option<Stretch> {
        let mut stretches = self.0.iter().rev().map(|sample| Stretch::of(*sample));
        let mut whole = stretches.next()?;
        while whole.span < span {
            whole = whole.with(stretches.next()?);
        }
        Some(whole)
    }
}
