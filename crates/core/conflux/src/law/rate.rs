//! By measured rate and shortest round trip: the window is twice their product, the pace the rate, and both are tried a
//! little higher now and then. After the idea of BBR (Cardwell and others, 2016); loss is only looked at while starting.

use super::WINDOW_FIRST;
use crate::flight::Progress;
use crate::intake::DEBT_CELLS;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pace and window while starting: doubles what is under way each round trip.
const STARTUP_GAIN: f64 = 2.77;
/// Undoes one round of starting.
const DRAIN_GAIN: f64 = 1.0 / STARTUP_GAIN;
const WINDOW_GAIN: f64 = 2.0;
/// Pace in each part of the cycle: one tries more, one empties what that has queued.
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Starting is over when the rate has grown by less than a quarter in each of this many rounds.
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: f64 = 1.25;
/// Starting is over when a round has lost more than this part: the queue is full. Far above what paths lose at random.
const STARTUP_LOSS: f64 = 0.15;
/// It is looked at from so many lost cells in a round on.
const STARTUP_LOST_MIN: u64 = 16;
/// Starting is over when so many round trips in a row are longer than the shortest by half and by so much: a queue grows.
const STARTUP_SLOW_SAMPLES: u32 = 8;
const STARTUP_SLOW: Duration = Duration::from_millis(10);
/// Rounds for which the highest rate and the highest heap hold,
const ROUNDS_HELD: u64 = 10;
/// and time for which they do at least: on a short path ten rounds are shorter than a process waits for its turn.
const TIME_HELD: Duration = Duration::from_millis(250);
/// For so long the shortest round trip holds without being seen again.
const MIN_RTT_HOLDS: Duration = Duration::from_secs(10);
/// Then little is sent for so long, to see it.
const LOOK_FOR: Duration = Duration::from_millis(200);
/// Feedback comes for so many cells at once; without two of these, a short path would stand still between two.
const FEEDBACK_CELLS: f64 = 2.0 * DEBT_CELLS as f64;
/// Deliveries that came in a heap let so much more be under way at most: in cells, and as time at the leg's rate.
const HEAP_CELLS_MAX: f64 = 512.0;
const HEAP_MAX: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Startup,
    Drain,
    Cycle { part: usize, since: Instant },
    LookForRtt { until: Instant },
}

/// The law by rate.
#[derive(Debug, Clone)]
pub(crate) struct RateLaw {
    state: State,
    rates: Highest,
    round: u64,
    round_ends_at: u64,
    lost_in_round: u64,
    delivered_in_round: u64,
    min_rtt: Option<Duration>,
    min_rtt_at: Option<Instant>,
    full_rate: f64,
    full_rounds: u32,
    slow_samples: u32,
    heap: Heap,
}

/// The highest of the last [`ROUNDS_HELD`] rounds and the last [`TIME_HELD`].
#[derive(Debug, Clone, Default)]
struct Highest {
    /// Falling values with when they were seen; one for each [`TIME_HELD`]/64 at most, so at most 65 beyond the rounds.
    falling: VecDeque<(u64, Instant, f64)>,
}

impl Highest {
    fn push(&mut self, round: u64, now: Instant, value: f64) {
        while self.falling.pop_back_if(|(_, _, lower)| *lower <= value).is_some() {}
        if self.falling.back().is_none_or(|(last, at, _)| *last < round && *at + TIME_HELD / 64 <= now) {
            self.falling.push_back((round, now, value));
        }
        let is_old = |(seen, at, _): &mut (u64, Instant, f64)| *seen + ROUNDS_HELD < round && *at + TIME_HELD < now;
        while self.falling.len() > 1 && self.falling.pop_front_if(is_old).is_some() {}
    }

    fn get(&self) -> Option<f64> {
        self.falling.front().map(|(_, _, value)| *value)
    }
}

/// How unevenly deliveries come. Processes that wait for their turn and radio take and give cells by the heap, and a window that knew
/// only rate and round trip would be used up before the next heap is told of. After BBR's estimate of aggregation.
#[derive(Debug, Clone, Default)]
struct Heap {
    /// Since when it is looked at, and what has been delivered since.
    since: Option<Instant>,
    delivered: u64,
    surplus: Highest,
}

impl Heap {
    fn handle_delivered(&mut self, now: Instant, delivered: u64, rate: f64, round: u64) {
        let since = *self.since.get_or_insert(now);
        let mut expected = rate * now.saturating_duration_since(since).as_secs_f64();
        if self.delivered as f64 <= expected {
            (self.since, self.delivered, expected) = (Some(now), 0, 0.0);
        }
        self.delivered += delivered;
        self.surplus.push(round, now, (self.delivered as f64 - expected).max(0.0));
    }

    fn cells(&self, rate: f64) -> f64 {
        self.surplus.get().unwrap_or(0.0).min(HEAP_CELLS_MAX).min(rate * HEAP_MAX.as_secs_f64())
    }
}

impl RateLaw {
    pub(super) fn new() -> Self {
        Self {
            state: State::Startup,
            rates: Highest::default(),
            round: 0,
            round_ends_at: 0,
            lost_in_round: 0,
            delivered_in_round: 0,
            min_rtt: None,
            min_rtt_at: None,
            full_rate: 0.0,
            full_rounds: 0,
            slow_samples: 0,
            heap: Heap::default(),
        }
    }

    pub(super) fn shortest_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    pub(super) fn window(&self) -> u64 {
        let Some(product) = self.product() else { return WINDOW_FIRST };
        let cells = match self.state {
            State::Startup => (STARTUP_GAIN * product + FEEDBACK_CELLS).max(WINDOW_FIRST as f64),
            State::Drain | State::Cycle { .. } => {
                WINDOW_GAIN * product + FEEDBACK_CELLS + self.heap.cells(self.highest_rate().unwrap_or(0.0))
            }
            State::LookForRtt { .. } => product / 2.0,
        };
        cells as u64
    }

    pub(super) fn pace(&self, rtt: f64) -> f64 {
        let gain = match self.state {
            State::Startup => STARTUP_GAIN,
            State::Drain => DRAIN_GAIN,
            State::Cycle { part, .. } => CYCLE[part % CYCLE.len()],
            State::LookForRtt { .. } => 1.0,
        };
        gain * self.rate(rtt)
    }

    pub(super) fn rate(&self, rtt: f64) -> f64 {
        self.highest_rate().unwrap_or(WINDOW_FIRST as f64 / rtt)
    }

    pub(super) fn handle_progress(&mut self, now: Instant, progress: &Progress, received: u64, in_flight: u64) {
        self.lost_in_round += progress.lost;
        self.delivered_in_round += progress.delivered;
        let round_over = progress.delivered_at_send >= self.round_ends_at && progress.rate.is_some();
        if round_over {
            self.round += 1;
            self.round_ends_at = received;
        }
        if let Some(sample) = progress.rate
            && (!sample.is_app_limited || self.highest_rate().is_none_or(|rate| sample.cells_per_second > rate))
        {
            self.rates.push(self.round, now, sample.cells_per_second);
        }
        if let Some(rate) = self.highest_rate() {
            self.heap.handle_delivered(now, progress.delivered, rate, self.round);
        }
        if let Some(rtt) = progress.rtt {
            self.take_rtt(now, rtt);
        }
        let is_app_limited = progress.rate.is_some_and(|sample| sample.is_app_limited);
        if self.state == State::Startup && (self.is_overrun() || (round_over && !is_app_limited && self.is_full())) {
            self.state = State::Drain;
        }
        if round_over {
            (self.lost_in_round, self.delivered_in_round) = (0, 0);
        }
        self.step(now, in_flight);
    }

    fn step(&mut self, now: Instant, in_flight: u64) {
        let product = self.product().unwrap_or(WINDOW_FIRST as f64);
        let rtt = self.min_rtt.unwrap_or(super::RTT_ASSUMED);
        match self.state {
            State::Startup => {}
            State::Drain if in_flight as f64 <= product => self.state = State::Cycle { part: 2, since: now },
            State::Drain => {}
            State::Cycle { part, since } => {
                let drained = part == 1 && in_flight as f64 <= product;
                if now.saturating_duration_since(since) >= rtt || drained {
                    self.state = State::Cycle { part: (part + 1) % CYCLE.len(), since: now };
                }
                if self.min_rtt_at.is_some_and(|at| at + MIN_RTT_HOLDS <= now) {
                    self.min_rtt = None;
                    self.state = State::LookForRtt { until: now + LOOK_FOR + rtt };
                }
            }
            State::LookForRtt { until } if until <= now => self.state = State::Cycle { part: 2, since: now },
            State::LookForRtt { .. } => {}
        }
    }

    /// The rate times the shortest round trip: what the path holds without a queue.
    fn product(&self) -> Option<f64> {
        Some(self.highest_rate()? * self.min_rtt.unwrap_or(super::RTT_ASSUMED).as_secs_f64())
    }

    fn highest_rate(&self) -> Option<f64> {
        self.rates.get()
    }

    fn take_rtt(&mut self, now: Instant, rtt: Duration) {
        let shortest = self.min_rtt.unwrap_or(Duration::MAX);
        self.min_rtt = Some(shortest.min(rtt));
        let is_slow = rtt > shortest.saturating_add(shortest / 2).saturating_add(STARTUP_SLOW);
        self.slow_samples = if is_slow { self.slow_samples + 1 } else { 0 };
        // Close to the shortest is as good: the queue was empty.
        if rtt <= shortest.saturating_add(shortest / 32) {
            self.min_rtt_at = Some(now);
        }
    }

    /// More goes out than the path takes, whether or not there was always something to send.
    fn is_overrun(&self) -> bool {
        let lost = self.lost_in_round as f64;
        let is_lossy = lost > STARTUP_LOSS * (lost + self.delivered_in_round as f64);
        (is_lossy && self.lost_in_round >= STARTUP_LOST_MIN) || self.slow_samples >= STARTUP_SLOW_SAMPLES
    }

    /// A round is over: whether the rate has stopped growing.
    fn is_full(&mut self) -> bool {
        let rate = self.highest_rate().unwrap_or(0.0);
        if rate >= self.full_rate * FULL_GROWTH {
            (self.full_rate, self.full_rounds) = (rate, 0);
        } else {
            self.full_rounds += 1;
        }
        self.full_rounds >= FULL_ROUNDS
    }
}
