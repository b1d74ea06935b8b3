//! What a plan is asked for, and the check that it makes sense.

use crate::directions::Directions;
use crate::effort::Effort;
use crate::error::RequestError;
use crate::mechanism::CEILING_LOADS;
use shaping::accountant::{Epsilon, FailureProbability, Mu, NoiseRatio, gaussian};
use shaping::{DpSettings, RateClass, Sigma, SlotLength};
use shaping_sim::closed_loop::Crowd;
use shaping_sim::recommended::Promise;
use shaping_sim::trace::Direction;
use shaping_sim::{Answers, Exchanges, PAGE_BYTES, SEGMENT_PERIOD, Setup, TrafficError, Workload};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Most clients of a plan: as many as a quota keeps apart.
pub const CLIENTS_PLANNED_MAX: u32 = shaping::CLIENTS_MAX as u32;
/// Epsilon of a release, as a configuration takes it.
pub const EPSILON_RANGE: RangeInclusive<f64> = 0.001..=100.0;
/// Hours of a day.
pub const BUSY_HOURS_MAX: u32 = 24;
/// Longest round trip between the nodes.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// Delta at most, in bytes: what the mechanism takes.
const DELTA_BYTES_MAX: u64 = 1 << 40;
/// Edges of the network in seconds.
const EDGE_S: u64 = shaping::DOWN_EDGE_S;
/// Longest epoch in seconds.
const EPOCH_MAX_S: u64 = 3_600;
/// Largest decision of a video flow in NetShaper's settings, in bytes.
const VIDEO_DECISION_BYTES: u64 = 1_400_000;

/// Kinds of generated traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Players of DASH video: a segment of 420 KB (median) every 5 s.
    Video,
    /// Readers of web pages of 54 to 147 KB, one in 10 s on average.
    Web,
}

impl Traffic {
    /// `clients` of them, who do not react.
    pub fn exchanges(self, clients: u32) -> Result<Exchanges, TrafficError> {
        match self {
            Self::Video => Exchanges::video(clients),
            Self::Web => Exchanges::web(clients),
        }
    }

    /// The same with reaction, for the experiment on closed loops.
    pub(crate) fn crowd(self, epoch: Duration) -> Crowd {
        let [least, most] = PAGE_BYTES;
        let page = Duration::from_secs(10);
        match self {
            Self::Video => Crowd { epoch, ..Crowd::VIDEO },
            Self::Web => Crowd { answers: Answers::Between(least, most), interval: page, thinking: page, epoch },
        }
    }

    /// From one request of a client to the next, on average.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::Video => SEGMENT_PERIOD,
            Self::Web => Duration::from_secs(10),
        }
    }

    /// Most bytes that NetShaper's decision allows a flow.
    pub(crate) fn netshaper_decision_bytes(self) -> u64 {
        match self {
            Self::Video => VIDEO_DECISION_BYTES,
            Self::Web => PAGE_BYTES[1],
        }
    }
}

/// What of the latency is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// 95 of 100 wait at most as long.
    P95,
}

/// From a request to the last byte of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyTarget {
    /// What of it.
    pub statistic: Statistic,
    /// At most this.
    pub at_most: Duration,
}

/// What is given; the rest is computed. Epsilon is that of one release of one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// This epsilon, with the recommended rule.
    Privacy {
        /// In [`EPSILON_RANGE`].
        epsilon: f64,
    },
    /// Bytes on the wire in 30 days, both directions: the smallest epsilon that they pay for.
    Budget {
        /// More than the traffic itself with its headers.
        bytes_per_month: u64,
    },
    /// This epsilon, and the smallest margin with which the latency is kept.
    Latency {
        /// In [`EPSILON_RANGE`].
        epsilon: f64,
        /// Above what slots and network take.
        target: LatencyTarget,
    },
}

/// Wishes, as a person has them. [`plan`](crate::plan()) checks them.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// 1..=[`CLIENTS_PLANNED_MAX`].
    pub clients: u32,
    /// What they do.
    pub traffic: Traffic,
    /// Delta: bytes of one client in one epoch that a release hides, and its quota.
    pub delta_bytes: Directions<u64>,
    /// Settings of a direction that exist already, with the request's Delta, epoch and epsilon. They replace the recommended ones
    /// where privacy is given.
    pub given: Directions<Option<DpSettings>>,
    /// W: a multiple of 5 s, up to an hour.
    pub epoch: Duration,
    /// delta: the probability that goes with every epsilon, in (0, 1).
    pub delta: f64,
    /// What is given.
    pub goal: Goal,
    /// Hours of a day in which the traffic is there, 1..=24; nobody is there for the rest.
    pub busy_hours: u32,
    /// Between the two nodes and back, up to [`ROUND_TRIP_MAX`].
    pub round_trip: Duration,
    /// Slots of the grid.
    pub slot: SlotLength,
    /// How much is simulated.
    pub effort: Effort,
    /// Replays the simulations.
    pub seed: u64,
}

impl Request {
    /// Delta of 2.5 MB down and 256 KB up for video, 300 KB and 25 KB for web pages, in 5 s; delta = 10^-6, all day long, no
    /// network between the nodes.
    pub fn new(clients: u32, traffic: Traffic, goal: Goal) -> Self {
        Self {
            clients,
            traffic,
            delta_bytes: match traffic {
                Traffic::Video => Directions { up: 256_000, down: 2_500_000 },
                Traffic::Web => Directions { up: 25_000, down: 300_000 },
            },
            given: Directions::default(),
            epoch: Duration::from_secs(5),
            delta: 1e-6,
            goal,
            busy_hours: BUSY_HOURS_MAX,
            round_trip: Duration::ZERO,
            slot: SlotLength::DEFAULT,
            effort: Effort::default(),
            seed: 1,
        }
    }
}

/// The quota that limits a client to this speed: bits per second times W.
pub fn quota_for_speed(bits_per_second: u64, epoch: Duration) -> u64 {
    let bytes = u128::from(bits_per_second) * epoch.as_millis() / 8_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A request that makes sense.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) request: Request,
    pub(crate) exchanges: Exchanges,
    pub(crate) workload: Workload,
    pub(crate) delta: FailureProbability,
    pub(crate) epoch_s: u32,
    pub(crate) goal: CheckedGoal,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CheckedGoal {
    Privacy(Epsilon),
    Budget(u64),
    Latency(Epsilon, LatencyTarget),
}

impl Checked {
    pub(crate) fn new(request: &Request) -> Result<Self, RequestError> {
        if !(1..=CLIENTS_PLANNED_MAX).contains(&request.clients) {
            return Err(RequestError::Clients(request.clients));
        }
        let exchanges = request.traffic.exchanges(request.clients).map_err(RequestError::Traffic)?;
        if !(1..=BUSY_HOURS_MAX).contains(&request.busy_hours) {
            return Err(RequestError::BusyHours(request.busy_hours));
        }
        if request.round_trip > ROUND_TRIP_MAX {
            return Err(RequestError::RoundTrip(request.round_trip));
        }
        let checked = Self {
            exchanges,
            workload: Workload::Exchanges(exchanges),
            delta: FailureProbability::new(request.delta).map_err(|_| RequestError::Delta(request.delta))?,
            epoch_s: epoch_s(request)?,
            goal: goal(request)?,
            request: request.clone(),
        };
        checked.check_load()?;
        checked.check_quotas()?;
        Ok(checked)
    }

    /// Bytes of applications in a second.
    pub(crate) fn load(&self) -> Directions<f64> {
        let of = |direction| self.exchanges.mean_bytes_per_second(direction);
        Directions { up: of(Direction::Up), down: of(Direction::Down) }
    }

    pub(crate) fn promise(&self, epsilon: Epsilon) -> Promise {
        Promise {
            epsilon,
            delta: self.delta,
            epoch_s: self.epoch_s,
            down_bytes: self.request.delta_bytes.down,
            up_bytes: self.request.delta_bytes.up,
        }
    }

    pub(crate) fn busy_share(&self) -> f64 {
        f64::from(self.request.busy_hours) / f64::from(BUSY_HOURS_MAX)
    }

    /// How runs are set up.
    pub(crate) fn setup(&self, measured: Duration) -> Setup {
        setup(&self.request, measured)
    }

    /// There is a class for the ceiling of `dp`, and so for everything slower.
    fn check_load(&self) -> Result<(), RequestError> {
        let clients = self.request.clients;
        let each = 8.0 * CEILING_LOADS * self.load().down / f64::from(clients);
        let most = (RateClass::FASTEST.bits_per_second() as f64 / each) as u32;
        if clients > most { Err(RequestError::TooMuchLoad { clients, most }) } else { Ok(()) }
    }

    fn check_quotas(&self) -> Result<(), RequestError> {
        let cell = self.setup(Duration::from_secs(1)).cell_payload();
        for direction in [Direction::Up, Direction::Down] {
            let bytes = self.request.delta_bytes.of(direction);
            if bytes < cell {
                return Err(RequestError::DeltaBelowCell { direction, bytes, cell });
            }
            let most = (RateClass::FASTEST.bits_per_second() / 9 * u64::from(self.epoch_s)).min(DELTA_BYTES_MAX);
            if bytes > most {
                return Err(RequestError::DeltaTooLarge { direction, bytes, most });
            }
            let brings = self.load().of(direction) / f64::from(self.request.clients) * f64::from(self.epoch_s);
            let needed = brings.ceil() as u64;
            if bytes < needed {
                return Err(RequestError::DeltaBelowLoad { direction, bytes, needed });
            }
            if let CheckedGoal::Privacy(epsilon) | CheckedGoal::Latency(epsilon, _) = self.goal {
                check_sigma(direction, bytes, epsilon, self.delta)?;
            }
        }
        Ok(())
    }
}

fn setup(request: &Request, measured: Duration) -> Setup {
    let lead = Duration::from_millis(1);
    Setup {
        slot: request.slot,
        lead,
        one_way: request.round_trip / 2,
        drain: Duration::from_secs(60),
        ..Setup::new(measured, request.seed)
    }
}

fn epoch_s(request: &Request) -> Result<u32, RequestError> {
    let (epoch, slot) = (request.epoch, request.slot.duration());
    if epoch < slot {
        return Err(RequestError::EpochBelowSlot { epoch, slot });
    }
    let seconds = epoch.as_secs();
    if epoch.subsec_nanos() != 0 || !seconds.is_multiple_of(EDGE_S) || !(EDGE_S..=EPOCH_MAX_S).contains(&seconds) {
        let above = seconds.saturating_add(u64::from(epoch.subsec_nanos() != 0)).min(EPOCH_MAX_S);
        let fits = Duration::from_secs(above.div_ceil(EDGE_S).max(1) * EDGE_S);
        return Err(RequestError::EpochOffEdges { epoch, fits });
    }
    Ok(seconds as u32)
}

fn goal(request: &Request) -> Result<CheckedGoal, RequestError> {
    let epsilon = |value: f64| {
        let epsilon = Epsilon::new(value).ok().filter(|epsilon| EPSILON_RANGE.contains(&epsilon.value()));
        epsilon.ok_or(RequestError::Epsilon(value))
    };
    match request.goal {
        Goal::Privacy { epsilon: value } => Ok(CheckedGoal::Privacy(epsilon(value)?)),
        Goal::Budget { bytes_per_month } => Ok(CheckedGoal::Budget(bytes_per_month)),
        Goal::Latency { epsilon: value, target } => {
            let setup = setup(request, Duration::from_secs(1));
            // Half a slot on average and the lead, each way; then the network.
            let least = setup.slot.duration() + 2 * setup.lead + request.round_trip;
            if target.at_most < least {
                return Err(RequestError::LatencyBelowFloor { wanted: target.at_most, least });
            }
            Ok(CheckedGoal::Latency(epsilon(value)?, target))
        }
    }
}

/// Sigma is at most 2^40 bytes; the error says from which epsilon on it is.
fn check_sigma(
    direction: Direction,
    bytes: u64,
    epsilon: Epsilon,
    delta: FailureProbability,
) -> Result<(), RequestError> {
    let sigma = gaussian::sigma_bytes(epsilon, delta, 1, bytes);
    if sigma.is_ok_and(|sigma| Sigma::new(sigma).is_ok()) {
        return Ok(());
    }
    let largest = NoiseRatio::new(Sigma::MAX.bytes() as f64 / bytes as f64).map_or(Mu::MAX, NoiseRatio::mu);
    let least_epsilon = gaussian::epsilon(largest, delta).value();
    Err(RequestError::Sigma { direction, bytes, epsilon: epsilon.value(), least_epsilon })
}
