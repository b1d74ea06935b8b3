//! What an observer sees of a session that goes through the modes themselves.

use adversary::Direction as Way;
use adversary::attacks::{Trace as Session, WireSeries};
use shaping::{DpParameters, DpSettings, Per1024, RateClass, Sigma, SlotLength};
use shaping_sim::trace::{Client, Direction, Trace, TraceError, Transfer};
use shaping_sim::{ConstantRate, Dp, Mode, Observation, Setup, Workload, observe};
use std::error::Error;
use std::time::Duration;

/// Seed of all traffic that is the same in every session.
pub(crate) const TRAFFIC_SEED: u64 = 20_261_128;

/// How somebody watches, and on what grid packets leave.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) bin: Duration,
    pub(crate) slot_ms: u32,
    /// Seconds between the beginning and the first edge of 300 s.
    pub(crate) first_edge_s: u64,
}

impl View {
    fn setup(&self, length: Duration, ring_bytes: u64) -> Setup {
        let slot = SlotLength::from_millis(self.slot_ms).expect("a length that slots have");
        let setup = Setup::new(length, TRAFFIC_SEED);
        let start_unix_s = setup.start_unix_s + 300 - self.first_edge_s;
        Setup { slot, ring_bytes, start_unix_s, drain: Duration::ZERO, ..setup }
    }

    /// `number` is what noise is drawn from.
    pub(crate) fn observe(
        &self,
        workload: &Workload,
        modes: &[Mode; 2],
        length: Duration,
        ring_bytes: u64,
        number: u64,
    ) -> Observation {
        let [up, down] = modes;
        let setup = self.setup(length, ring_bytes);
        observe(workload, [up, down], &setup, self.bin, number).expect("a mode that can run on this grid")
    }
}

pub(crate) fn series(seen: Observation) -> WireSeries {
    WireSeries::new(seen.up, seen.down)
}

/// A session of one client.
pub(crate) fn alone(session: &Session) -> Workload {
    let transfers = session.arrivals.iter().map(|arrival| Transfer {
        at: arrival.at,
        client: Client(0),
        direction: if arrival.direction == Way::Outward { Direction::Up } else { Direction::Down },
        bytes: arrival.bytes,
    });
    Workload::Replay(Trace::new(transfers.collect()).expect("a session has bytes"))
}

/// What each of two neighbouring streams adds to the first: the bytes of one more client, at the beginning of epochs.
pub(crate) fn guest(session: &Session, others: u64, client: u32) -> Vec<Transfer> {
    let added = session.arrivals.iter().map(|arrival| Transfer {
        at: arrival.at,
        client: Client(client),
        direction: Direction::Down,
        bytes: arrival.bytes.saturating_sub(others),
    });
    added.filter(|transfer| transfer.bytes > 0).collect()
}

/// Clients that bring as many bytes into every epoch as the quota lets them, and one more that does so in some.
pub(crate) fn quotas(session: &Session, clients: u32, delta: u64) -> Result<Workload, TraceError> {
    let others = u64::from(clients) * delta;
    let mut transfers = guest(session, others, clients);
    for arrival in &session.arrivals {
        let each =
            |client| Transfer { at: arrival.at, client: Client(client), direction: Direction::Down, bytes: delta };
        transfers.extend((0..clients).map(each));
    }
    Ok(Workload::Replay(Trace::new(transfers)?))
}

pub(crate) fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).expect("a rate below the fastest class")
}

pub(crate) fn constant(bits_per_second: u64) -> Mode {
    Mode::Constant(ConstantRate::Class(class(bits_per_second)))
}

/// Mode `dp` as it tells most: the rate is the newest release and nothing else.
pub(crate) fn bare_dp(delta: u64, mu: f64, ceiling: RateClass) -> Result<Mode, Box<dyn Error>> {
    let one = Per1024(1024);
    let settings = DpSettings {
        epoch_s: 5,
        delta_bytes: delta,
        sigma: Sigma::new((delta as f64 / mu).ceil() as u64)?,
        gain: one,
        margin: one,
        errors: Per1024(0),
        floor: RateClass::SLOWEST,
        initial: RateClass::SLOWEST,
        ceiling,
        count_cap_bytes: ceiling.bits_per_second() / 8 * 5,
    };
    Ok(Mode::Dp(Dp { parameters: DpParameters::new(settings)?, estimate_bytes: None }))
}
