//! How much may be under way on a leg, and how fast it goes out: one controller per leg, in mode `off`.
//!
//! Both read the same feedback. Which one a tunnel uses was chosen by measurement (docs/measurements/conflux.md).

mod delay;
mod rate;

use crate::flight::Progress;
use crate::intake::DEBT_CELLS;
use delay::DelayLaw;
use rate::RateLaw;
use std::time::{Duration, Instant};

/// Data cells that a leg may have under way before its first feedback: more than the start of a page (50 KB), so that no leg
/// gets more of it by answering early.
pub const WINDOW_FIRST: u64 = 64;
/// The smallest window: feedback may wait for this many cells, so a smaller one would wait for its delay each time.
pub const WINDOW_MIN: u64 = DEBT_CELLS as u64;
/// The largest window, below [`crate::FLIGHT_CELLS_MAX`]: 100 Mbit/s and 1.3 s. Above it a leg is slower than it could be.
pub const WINDOW_MAX: u64 = 12_288;

/// Assumed until linking or feedback has measured it.
const RTT_ASSUMED: Duration = Duration::from_millis(100);

/// Which controller the legs of a tunnel have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegControl {
    /// By measured rate and shortest round trip, in the manner of BBR. Random loss hardly slows it.
    #[default]
    Rate,
    /// By the growth of the round trip, in the manner of Vegas and of Tor's proposal 324, and by loss.
    Delay,
}

/// The controller of one leg.
#[derive(Debug, Clone)]
pub(crate) enum Law {
    Rate(RateLaw),
    Delay(DelayLaw),
}

impl Law {
    pub(crate) fn new(kind: LegControl) -> Self {
        match kind {
            LegControl::Rate => Self::Rate(RateLaw::new()),
            LegControl::Delay => Self::Delay(DelayLaw::new()),
        }
    }

    /// Data cells that may be under way.
    pub(crate) fn window(&self) -> u64 {
        let window = match self {
            Self::Rate(law) => law.window(),
            Self::Delay(law) => law.window(),
        };
        window.clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// Cells a second at which they leave. `rtt` is what linking or feedback has measured.
    pub(crate) fn pace(&self, rtt: Option<Duration>) -> f64 {
        let rtt = rtt.unwrap_or(RTT_ASSUMED).as_secs_f64().max(0.000_1);
        match self {
            Self::Rate(law) => law.pace(rtt),
            // Windows of a whole round trip at once would overflow short queues.
            Self::Delay(law) => 1.25 * law.window() as f64 / rtt,
        }
    }

    /// Cells a second that the leg is thought to deliver.
    pub(crate) fn rate(&self, rtt: Option<Duration>) -> f64 {
        let rtt = rtt.unwrap_or(RTT_ASSUMED).as_secs_f64().max(0.000_1);
        match self {
            Self::Rate(law) => law.rate(rtt),
            Self::Delay(law) => law.window() as f64 / rtt,
        }
    }

    /// The shortest round trip of late: what the leg takes without a queue.
    pub(crate) fn shortest_rtt(&self) -> Option<Duration> {
        match self {
            Self::Rate(law) => law.shortest_rtt(),
            Self::Delay(law) => law.shortest_rtt(),
        }
    }

    /// Takes new feedback. `received`: all that the other end has of this leg; `in_flight`: data cells now.
    pub(crate) fn handle_progress(&mut self, now: Instant, progress: &Progress, received: u64, in_flight: u64) {
        match self {
            Self::Rate(law) => law.handle_progress(now, progress, received, in_flight),
            Self::Delay(law) => law.handle_progress(progress, received, in_flight),
        }
    }

    /// The leg was silent and answers again: nothing that was learnt before is trusted.
    pub(crate) fn restart(&mut self) {
        *self = match self {
            Self::Rate(_) => Self::new(LegControl::Rate),
            Self::Delay(_) => Self::new(LegControl::Delay),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::RateSample;

    const RTT: Duration = Duration::from_millis(50);

    /// A second of feedback, every 10 ms about 10 cells of which `lost` are missing, with this round trip.
    fn feed(law: &mut Law, from: &mut Instant, received: &mut u64, lost: u64, rtt: Duration) {
        for _ in 0..100 {
            *from += Duration::from_millis(10);
            let delivered = 10 - lost;
            *received += delivered;
            let rate = Some(RateSample { cells_per_second: 100.0 * delivered as f64, is_app_limited: false });
            let delivered_at_send = received.saturating_sub(50);
            let progress = Progress { delivered, lost, rtt: Some(rtt), rate, delivered_at_send };
            let window = law.window();
            law.handle_progress(*from, &progress, *received, window);
        }
    }

    #[test]
    fn the_law_by_rate_keeps_two_products_under_way_and_bears_loss() {
        let (mut law, mut now, mut received) = (Law::new(LegControl::Rate), crate::origin(), 0);
        assert_eq!(law.window(), WINDOW_FIRST);
        feed(&mut law, &mut now, &mut received, 0, RTT);
        // Drained once what is under way is no more than one product, which a full window never is.
        let progress = Progress { delivered: 1, lost: 0, rtt: Some(RTT), rate: None, delivered_at_send: 0 };
        law.handle_progress(now, &progress, received, 10);
        // Two products, what feedback waits for, and a heap of eleven: ten cells each 10 ms, and the first 10 ms were longer.
        assert_eq!(law.window(), 2 * 50 + 48 + 11);
        let rate = law.rate(Some(RTT));
        assert!((rate - 1000.0).abs() < 1.0, "{rate}");
        feed(&mut law, &mut now, &mut received, 1, RTT);
        assert!(law.window() >= 2 * 45 + 48, "{} at 10 % loss", law.window());
        law.restart();
        assert_eq!((law.window(), law.shortest_rtt()), (WINDOW_FIRST, None));
    }

    #[test]
    fn the_law_by_rate_keeps_a_heap_more_under_way_where_cells_come_in_heaps() {
        let (mut law, mut now, mut received) = (Law::new(LegControl::Rate), crate::origin(), 0);
        // A process that sleeps: 100 cells each 10 ms, 2 ms away, at a rate that is measured right.
        for round in 1..=100_u64 {
            now += Duration::from_millis(10);
            received += 100;
            let rate = Some(RateSample { cells_per_second: 10_000.0, is_app_limited: false });
            let rtt = Some(Duration::from_millis(2));
            let progress = Progress { delivered: 100, lost: 0, rtt, rate, delivered_at_send: 100 * (round - 1) };
            law.handle_progress(now, &progress, received, if round == 5 { 1 } else { 50 });
        }
        // Twice 20 cells and those for feedback would be 72, and the leg idle for most of the time.
        assert!((172..=300).contains(&law.window()), "{}", law.window());
    }

    #[test]
    fn the_law_by_delay_shrinks_with_queues_and_with_loss() {
        let (mut law, mut now, mut received) = (Law::new(LegControl::Delay), crate::origin(), 0);
        feed(&mut law, &mut now, &mut received, 0, RTT);
        let grown = law.window();
        assert!(grown > WINDOW_FIRST, "{grown}");
        feed(&mut law, &mut now, &mut received, 0, 2 * RTT);
        let queued = law.window();
        assert!(queued < grown * 2 / 3, "{queued} of {grown}: half of it waited");
        feed(&mut law, &mut now, &mut received, 1, RTT);
        assert!(law.window() < queued, "{} of {queued}", law.window());
        assert!(law.window() >= WINDOW_MIN);
    }
}
