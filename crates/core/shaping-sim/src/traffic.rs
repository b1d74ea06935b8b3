//! Traffic that is made while the simulation runs: clients that ask, are answered, and ask again.
//!
//! An *exchange* is a request up and, when its last byte has come, an answer down. What is open loop and what is not lies in
//! [`Pace`]: whether the next request waits for the last answer. A [`Trace`] has no exchanges; it is replayed as it is.

use crate::random::Draws;
use crate::trace::{Client, Direction, Trace, TraceError, Transfer};
use crate::trace::{TRACE_CLIENTS_MAX, TRACE_LENGTH_MAX, TRANSFER_BYTES_MAX};
use std::time::Duration;
use thiserror::Error;

mod source;

pub(crate) use source::{Arrival, Source};

/// Playing time of a video segment: one is asked for every 5 s.
pub const SEGMENT_PERIOD: Duration = Duration::from_secs(5);
/// Median size of a segment in bytes.
pub const SEGMENT_MEDIAN_BYTES: u64 = 420_000;
/// Largest segment in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1_700_000;
/// Deviation of the logarithm of a segment's size.
pub const SEGMENT_SPREAD: f64 = 0.35;
/// Smallest and largest page of generated web traffic in bytes (NetShaper's set of 96 pages).
pub const PAGE_BYTES: [u64; 2] = [54_000, 147_000];
/// Answer to a small web-like request in bytes, the smaller of the two sizes that NetShaper measures latency with.
pub const SMALL_ANSWER_BYTES: u64 = 1_460;
/// A request in bytes: an HTTP request with its usual headers.
pub const REQUEST_BYTES: u64 = 500;
/// Shortest period or mean of a [`Pace`]; the longest is [`TRACE_LENGTH_MAX`].
pub const PACE_MIN: Duration = Duration::from_millis(1);

/// When a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Open loop: at a regular interval, from a random phase on.
    Every(Duration),
    /// Open loop: at random moments with this mean interval (a Poisson process).
    Random(Duration),
    /// Closed loop: a random while, exponential with this mean, after the last answer has come.
    Thinking(Duration),
}

/// How large an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Video segments: log-normal, [`SEGMENT_MEDIAN_BYTES`], [`SEGMENT_SPREAD`], [`SEGMENT_BYTES_MAX`].
    Segments,
    /// Any size from the first to the second, in bytes.
    Between(u64, u64),
}

impl Answers {
    /// The mean in bytes. That the largest segments are cut changes it by less than one in 10,000.
    pub fn mean_bytes(self) -> f64 {
        match self {
            Self::Segments => SEGMENT_MEDIAN_BYTES as f64 * (SEGMENT_SPREAD.powi(2) / 2.0).exp(),
            Self::Between(least, most) => (least as f64 + most as f64) / 2.0,
        }
    }

    pub(crate) fn draw(self, draws: &mut Draws) -> u64 {
        match self {
            Self::Segments => {
                let bytes = draws.log_normal(SEGMENT_MEDIAN_BYTES as f64, SEGMENT_SPREAD);
                (bytes as u64).clamp(1, SEGMENT_BYTES_MAX)
            }
            Self::Between(least, most) => draws.between(least, most),
        }
    }
}

/// Clients that cannot exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TrafficError {
    /// None, or too many.
    #[error("{0} clients are outside 1..={TRACE_CLIENTS_MAX}")]
    Clients(u32),
    /// Out of range or out of order.
    #[error("requests and answers have 1 to {TRANSFER_BYTES_MAX} bytes, the smallest answer first")]
    Bytes,
    /// Too often, or too rarely.
    #[error("a client asks at most once in {} ms and at least once in {} s", PACE_MIN.as_millis(), TRACE_LENGTH_MAX.as_secs())]
    Pace,
}

/// Clients of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchanges {
    clients: u32,
    request_bytes: u64,
    answers: Answers,
    pace: Pace,
}

impl Exchanges {
    /// Checks the ranges.
    pub fn new(clients: u32, request_bytes: u64, answers: Answers, pace: Pace) -> Result<Self, TrafficError> {
        if !(1..=TRACE_CLIENTS_MAX).contains(&clients) {
            return Err(TrafficError::Clients(clients));
        }
        let (least, most) = match answers {
            Answers::Segments => (1, SEGMENT_BYTES_MAX),
            Answers::Between(least, most) => (least, most),
        };
        let is_size = |bytes: u64| (1..=TRANSFER_BYTES_MAX).contains(&bytes);
        if !is_size(request_bytes) || !is_size(least) || !is_size(most) || least > most {
            return Err(TrafficError::Bytes);
        }
        let (Pace::Every(time) | Pace::Random(time) | Pace::Thinking(time)) = pace;
        if !(PACE_MIN..=TRACE_LENGTH_MAX).contains(&time) {
            return Err(TrafficError::Pace);
        }
        Ok(Self { clients, request_bytes, answers, pace })
    }

    /// Players of DASH video: a segment every 5 s, whether or not the last one has come.
    pub fn video(clients: u32) -> Result<Self, TrafficError> {
        Self::new(clients, REQUEST_BYTES, Answers::Segments, Pace::Every(SEGMENT_PERIOD))
    }

    /// Players that ask for a segment 4 s (mean) after the last one has come.
    pub fn waiting_video(clients: u32) -> Result<Self, TrafficError> {
        Self::new(clients, REQUEST_BYTES, Answers::Segments, Pace::Thinking(Duration::from_secs(4)))
    }

    /// Readers of web pages, each at random moments with a mean interval of 10 s.
    pub fn web(clients: u32) -> Result<Self, TrafficError> {
        let [least, most] = PAGE_BYTES;
        Self::new(clients, REQUEST_BYTES, Answers::Between(least, most), Pace::Random(Duration::from_secs(10)))
    }

    /// Readers that think for 10 s (mean) after a page has come.
    pub fn waiting_web(clients: u32) -> Result<Self, TrafficError> {
        let [least, most] = PAGE_BYTES;
        Self::new(clients, REQUEST_BYTES, Answers::Between(least, most), Pace::Thinking(Duration::from_secs(10)))
    }

    /// Small web-like requests: 1.46 KB each, at random moments with a mean interval of 1 s.
    pub fn small_requests(clients: u32) -> Result<Self, TrafficError> {
        let answers = Answers::Between(SMALL_ANSWER_BYTES, SMALL_ANSWER_BYTES);
        Self::new(clients, REQUEST_BYTES, answers, Pace::Random(Duration::from_secs(1)))
    }

    /// Number of clients.
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// How large answers are.
    pub fn answers(&self) -> Answers {
        self.answers
    }

    /// Bytes per second of all clients together, up or down, if answers took no time.
    pub fn mean_bytes_per_second(&self, direction: Direction) -> f64 {
        let (Pace::Every(interval) | Pace::Random(interval) | Pace::Thinking(interval)) = self.pace;
        let each = match direction {
            Direction::Up => self.request_bytes as f64,
            Direction::Down => self.answers.mean_bytes(),
        };
        f64::from(self.clients) * each / interval.as_secs_f64()
    }
}

/// What goes through a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// Exactly these transfers.
    Replay(Trace),
    /// Clients that are made from a seed.
    Exchanges(Exchanges),
    /// Clients that are made from a seed, and those of a trace behind them, with the next numbers.
    Both(Exchanges, Trace),
}

impl Workload {
    /// Number of clients.
    pub fn clients(&self) -> u32 {
        match self {
            Self::Replay(trace) => trace.clients(),
            Self::Exchanges(exchanges) => exchanges.clients(),
            Self::Both(exchanges, trace) => exchanges.clients() + trace.clients(),
        }
    }

    /// Bytes per second of a direction over the length of the trace, or as [`Exchanges::mean_bytes_per_second`].
    pub fn mean_bytes_per_second(&self, direction: Direction) -> f64 {
        let of_trace = |trace: &Trace| trace.bytes(direction) as f64 / trace.length().as_secs_f64().max(1.0);
        match self {
            Self::Replay(trace) => of_trace(trace),
            Self::Exchanges(exchanges) => exchanges.mean_bytes_per_second(direction),
            Self::Both(exchanges, trace) => exchanges.mean_bytes_per_second(direction) + of_trace(trace),
        }
    }
}

/// The segments that [`Exchanges::video`] asks for as a trace of answers alone: each comes when it is due.
pub fn video_segments(clients: u32, length: Duration, seed: u64) -> Result<Trace, TraceError> {
    let mut transfers = Vec::new();
    for client in 0..clients.min(TRACE_CLIENTS_MAX) {
        let mut draws = Draws::new(seed, client.into());
        let mut at = SEGMENT_PERIOD.mul_f64(draws.unit());
        while at < length {
            let bytes = Answers::Segments.draw(&mut draws);
            transfers.push(Transfer { at, client: Client(client), direction: Direction::Down, bytes });
            at += SEGMENT_PERIOD;
        }
    }
    Trace::new(transfers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_cannot_exist_are_refused() {
        assert_eq!(Exchanges::video(0), Err(TrafficError::Clients(0)));
        assert_eq!(Exchanges::web(TRACE_CLIENTS_MAX + 1), Err(TrafficError::Clients(TRACE_CLIENTS_MAX + 1)));
        let second = Pace::Every(Duration::from_secs(1));
        assert_eq!(Exchanges::new(1, 0, Answers::Segments, second), Err(TrafficError::Bytes));
        assert_eq!(Exchanges::new(1, 1, Answers::Between(0, 9), second), Err(TrafficError::Bytes));
        assert_eq!(Exchanges::new(1, 1, Answers::Between(9, 8), second), Err(TrafficError::Bytes));
        for time in [Duration::from_micros(999), TRACE_LENGTH_MAX + PACE_MIN, Duration::MAX] {
            let exchanges = Exchanges::new(1, 1, Answers::Segments, Pace::Thinking(time));
            assert_eq!(exchanges, Err(TrafficError::Pace));
        }
    }

    /// Fixed seed; 40 x 60 segments have a standard error of 0.74 %.
    #[test]
    fn segments_come_every_five_seconds_with_the_stated_sizes() -> Result<(), TraceError> {
        let trace = video_segments(40, Duration::from_secs(300), 1)?;
        assert_eq!((trace.transfers().len(), trace.clients()), (40 * 60, 40));
        let mean = trace.bytes(Direction::Down) as f64 / (40.0 * 60.0);
        assert!((mean / Answers::Segments.mean_bytes() - 1.0).abs() < 0.03, "{mean}");
        assert!((Answers::Segments.mean_bytes() - 446_529.0).abs() < 1.0);
        let mut sizes: Vec<_> = trace.transfers().iter().map(|transfer| transfer.bytes).collect();
        sizes.sort_unstable();
        assert!(sizes[sizes.len() - 1] <= SEGMENT_BYTES_MAX);
        assert!((sizes[sizes.len() / 2] as f64 / SEGMENT_MEDIAN_BYTES as f64 - 1.0).abs() < 0.04);
        Ok(())
    }
}
