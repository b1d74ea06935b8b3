//! One direction's mode while it runs: the real mechanism, its noise, and the cells of a slot.

use crate::cost::{Cost, decisions_per_window};
use crate::mode::{ConstantRate, Dp, EXACT_RATE_MAX, Mode, ModeError, Queue};
use crate::noise::SimulatedNoise;
use crate::trace::Client;
use shaping::{
    CellRate, ClientNumber, DpSchedule, QueueParameters, QueueSchedule, RateClass, ReadyNoise, SlotLength, Stepped,
};
use std::f64::consts::TAU;
use std::time::Duration;

/// Ready samples from wherever a simulation takes them.
pub(crate) struct BoxedNoise(pub(crate) Box<dyn ReadyNoise>);

impl ReadyNoise for BoxedNoise {
    fn take(&mut self) -> Option<shaping::Noise> {
        self.0.take()
    }
}

/// Where noise comes from.
pub(crate) enum NoiseFrom {
    /// A generator of one seed and stream.
    Seed(u64, u64),
    /// The caller.
    Given(Box<dyn ReadyNoise>),
}

impl NoiseFrom {
    fn with_sigma(self, sigma: shaping::Sigma) -> BoxedNoise {
        match self {
            Self::Seed(seed, stream) => BoxedNoise(Box::new(SimulatedNoise::new(seed, stream, sigma))),
            Self::Given(noise) => BoxedNoise(noise),
        }
    }
}

/// What a pacer sees in a slot, all of it from the clock.
pub(crate) struct Sight {
    pub(crate) slot: u64,
    pub(crate) unix_s: u64,
    /// Bytes in rings.
    pub(crate) queue_bytes: u64,
    /// Bytes of session packets that left since the last look, data and not cover.
    pub(crate) sent_bytes: u64,
}

pub(crate) struct Pacer {
    grid: Lattice,
    kind: Kind,
}

/// Slots and what fits into their cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lattice {
    pub(crate) slot: SlotLength,
    pub(crate) session_packet: usize,
}

enum Kind {
    Off,
    Exact { bits_per_second: u64 },
    Class(Paced),
    Stepped(Box<Stepped>, Paced),
    Dp(Box<DpSchedule>, Paced, BoxedNoise),
    Queue { schedule: Box<QueueSchedule>, noise: BoxedNoise, window: Duration },
}

/// A class and the slot since which it holds.
#[derive(Debug, Clone, Copy)]
struct Paced {
    rate: CellRate,
    since: u64,
}

impl Pacer {
    pub(crate) fn new(mode: &Mode, grid: Lattice, unix_s: u64, noise: NoiseFrom) -> Result<Self, ModeError> {
        let paced = |class| Paced { rate: CellRate::new(class, grid.slot, grid.session_packet), since: 0 };
        let kind = match mode {
            Mode::Off => Kind::Off,
            Mode::Constant(ConstantRate::Class(class)) => Kind::Class(paced(*class)),
            Mode::Constant(ConstantRate::Exact(rate @ 1..=EXACT_RATE_MAX)) => Kind::Exact { bits_per_second: *rate },
            Mode::Constant(ConstantRate::Exact(rate)) => return Err(ModeError::Rate(*rate)),
            Mode::Stepped(parameters) => {
                let stepped = Stepped::new(parameters.clone(), unix_s);
                let class = stepped.class();
                Kind::Stepped(Box::new(stepped), paced(class))
            }
            Mode::Dp(Dp { parameters, estimate_bytes }) => {
                let schedule = match estimate_bytes {
                    Some(bytes) => DpSchedule::with_estimate(*parameters, *bytes, unix_s),
                    None => DpSchedule::new(*parameters, unix_s),
                };
                let class = schedule.class();
                Kind::Dp(Box::new(schedule), paced(class), noise.with_sigma(parameters.settings().sigma))
            }
            Mode::Queue(Queue { settings, window }) => {
                let parameters = QueueParameters::new(*settings, grid.slot, grid.session_packet)?;
                let noise = noise.with_sigma(parameters.sigma());
                Kind::Queue { schedule: Box::new(QueueSchedule::new(parameters, 0)), noise, window: *window }
            }
        };
        Ok(Self { grid, kind })
    }

    /// How much of what a client wants to put in it may: all of it, but for the quota of `dp`.
    pub(crate) fn admit(&mut self, client: Client, wanted: u64) -> u64 {
        match &mut self.kind {
            Kind::Dp(schedule, ..) => schedule.admit(ClientNumber(client.0.into()), wanted),
            Kind::Off | Kind::Exact { .. } | Kind::Class(_) | Kind::Stepped(..) | Kind::Queue { .. } => wanted,
        }
    }

    /// Lets the mechanism look and decide. True if an epoch has begun, in which every client has its quota again.
    pub(crate) fn look(&mut self, sight: &Sight) -> bool {
        match &mut self.kind {
            Kind::Off | Kind::Exact { .. } | Kind::Class(_) => false,
            Kind::Stepped(stepped, paced) => {
                stepped.handle_sent(sight.sent_bytes);
                stepped.handle_backlog(sight.queue_bytes);
                if let Some(edge) = stepped.poll(sight.unix_s) {
                    paced.change(stepped.release(edge, true), sight.slot, self.grid);
                }
                false
            }
            Kind::Dp(schedule, paced, noise) => {
                let Some(end) = schedule.poll(sight.unix_s) else { return false };
                // Every release is granted: what it costs is reported, not limited.
                let _ = schedule.release(end, true, noise);
                paced.change(schedule.class(), sight.slot, self.grid);
                true
            }
            Kind::Queue { schedule, noise, .. } => {
                if let Some(due) = schedule.poll(sight.slot) {
                    let _ = schedule.release(due, sight.queue_bytes, true, noise);
                }
                false
            }
        }
    }

    /// Cells of a slot; none where there is no schedule.
    pub(crate) fn cells_in_slot(&self, slot: u64) -> Option<u32> {
        match &self.kind {
            Kind::Off => None,
            Kind::Exact { bits_per_second } => Some(self.grid.exact_cells(*bits_per_second, slot)),
            Kind::Class(paced) | Kind::Stepped(_, paced) | Kind::Dp(_, paced, _) => {
                Some(paced.rate.cells_in_slot(slot.saturating_sub(paced.since)))
            }
            Kind::Queue { schedule, .. } => Some(schedule.cells_in_slot(slot)),
        }
    }

    /// The rate without classes or cells, in bytes per second; none where there is no schedule.
    pub(crate) fn exact_bytes_per_second(&self) -> Option<f64> {
        match &self.kind {
            Kind::Off => None,
            Kind::Exact { bits_per_second } => Some(*bits_per_second as f64 / 8.0),
            Kind::Class(paced) | Kind::Stepped(_, paced) => Some(paced.rate.class().bits_per_second() as f64 / 8.0),
            Kind::Dp(schedule, ..) => Some(schedule.bits_per_second() as f64 / 8.0),
            Kind::Queue { schedule, .. } => {
                let interval_us = schedule.parameters().settings().dp_creditor_loop_interval_us;
                Some(schedule.decision_bytes() as f64 / f64::from(interval_us) * 1e6)
            }
        }
    }

    /// Decisions of `queue` so far, else 0.
    pub(crate) fn queue_decisions(&self) -> u64 {
        if let Kind::Queue { schedule, .. } = &self.kind { schedule.counts().released } else { 0 }
    }

    /// Bytes per second that the quota lets a client send at most, where there is a quota.
    pub(crate) fn speed_limit_bytes_per_second(&self) -> Option<u64> {
        let Kind::Dp(schedule, ..) = &self.kind else { return None };
        let settings = schedule.parameters().settings();
        Some(settings.delta_bytes / u64::from(settings.epoch_s))
    }

    /// What was let out so far.
    pub(crate) fn cost(&self) -> Cost {
        match &self.kind {
            Kind::Off => Cost::Everything,
            Kind::Exact { .. } | Kind::Class(_) => Cost::Nothing,
            Kind::Stepped(stepped, _) => Cost::of_choices(stepped.choices(), stepped.released()),
            Kind::Dp(schedule, ..) => {
                let settings = schedule.parameters().settings();
                let scale = [settings.delta_bytes, settings.sigma.bytes(), settings.count_cap_bytes];
                Cost::of_noise(scale, schedule.counts().released, 1)
            }
            Kind::Queue { schedule, window, .. } => {
                let (parameters, settings) = (schedule.parameters(), schedule.parameters().settings());
                let per_window = decisions_per_window(*window, settings.dp_creditor_loop_interval_us);
                // Clipped after the noise and not before, so both ends can be all but certain: one more likelihood of 1 in
                // the sum over outputs, as if the range were wider by sigma sqrt(2 pi).
                let sigma = parameters.sigma().bytes();
                let wider = (sigma as f64 * TAU.sqrt()).ceil() as u64;
                let range = settings.max_decision_size - settings.min_decision_size + wider;
                Cost::of_noise([settings.sensitivity, sigma, range], schedule.counts().released, per_window)
            }
        }
    }
}

impl Paced {
    fn change(&mut self, class: RateClass, slot: u64, grid: Lattice) {
        if class != self.rate.class() {
            *self = Self { rate: CellRate::new(class, grid.slot, grid.session_packet), since: slot };
        }
    }
}

impl Lattice {
    /// As [`CellRate::cells_in_slot`], for a rate that is no class.
    fn exact_cells(self, bits_per_second: u64, slot: u64) -> u32 {
        let per_slot = u128::from(bits_per_second) * u128::from(self.slot.as_millis());
        let per_cell = 8 * 1_000 * self.session_packet as u128;
        let before = |slots: u64| u128::from(slots) * per_slot / per_cell;
        (before(slot + 1) - before(slot)) as u32
    }
}
