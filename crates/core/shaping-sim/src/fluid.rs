//! The same mechanisms without rounding: no cells, no headers, no classes, one queue for all. A yardstick.
//!
//! Bytes flow at the exact rate in steps of one slot and leave in the order in which they came, as in the reference
//! simulation of the research notes and, for mode `queue`, in NetShaper's own simulator: of a decision, only as many bytes
//! are data as waited when it was made. What this gives differs from [`run`](crate::run()) by what rounding costs.

use crate::latencies::Latencies;
use crate::mode::Mode;
use crate::pacer::{NoiseFrom, Pacer, Sight};
use crate::run::{RunError, Setup};
use crate::trace::{Direction, TRACE_TRANSFERS_MAX, Trace, TraceError, Transfer};
use crate::traffic::{Source, Workload};
use shaping::ReadyNoise;
use std::collections::VecDeque;
use std::time::Duration;

/// One direction of a run without rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FluidReport {
    /// Bytes that left, cover included.
    pub sent_bytes: f64,
    /// Bytes of the trace that left.
    pub application_bytes: f64,
    /// Bytes of the trace that did not.
    pub waiting_bytes: f64,
    /// From the moment a transfer comes to the end of the slot in which its last byte leaves.
    pub latency: Latencies,
}

impl FluidReport {
    /// (sent - application) / application; none where nothing was delivered.
    pub fn overhead(&self) -> Option<f64> {
        (self.application_bytes > 0.0).then(|| (self.sent_bytes - self.application_bytes) / self.application_bytes)
    }
}

/// Sends the transfers down of a trace through one mode. Of the setup it uses slot, measured time, start and, without
/// `noise`, seed; there is no lead, no ring and no drain. Mode `off` has no rate and is an error.
pub fn run_fluid(
    trace: &Trace,
    mode: &Mode,
    setup: &Setup,
    noise: Option<Box<dyn ReadyNoise>>,
) -> Result<FluidReport, RunError> {
    setup.check()?;
    let noise = noise.map_or(NoiseFrom::Seed(setup.seed, 1), NoiseFrom::Given);
    let pacer = Pacer::new(mode, setup.grid(), setup.start_unix_s, noise)?;
    if pacer.exact_bytes_per_second().is_none() {
        return Err(RunError::NoRate);
    }
    let mut fluid = Fluid {
        pacer,
        queue: Queue::default(),
        held: Vec::new(),
        bound: f64::INFINITY,
        decisions: 0,
        sent_bytes: 0.0,
        application_bytes: 0.0,
    };
    let mut arrivals = trace.transfers().iter().filter(|transfer| transfer.direction == Direction::Down).peekable();
    let slot_s = setup.slot.duration().as_secs_f64();
    for slot in 0_u64.. {
        let now = Duration::from_nanos((setup.slot.duration().as_nanos() * u128::from(slot)) as u64);
        if now >= setup.measured {
            break;
        }
        while let Some(transfer) = arrivals.next_if(|transfer| transfer.at <= now) {
            fluid.take(transfer);
        }
        fluid.step(slot, setup.start_unix_s + now.as_secs(), slot_s, now + setup.slot.duration());
    }
    Ok(FluidReport {
        sent_bytes: fluid.sent_bytes,
        application_bytes: fluid.application_bytes,
        waiting_bytes: fluid.queue.bytes + fluid.held.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>(),
        latency: Latencies::of(fluid.queue.latencies),
    })
}

/// What [`run_fluid`] can send of any workload: a trace as it is, or the answers of exchanges, each handed over when it is
/// asked for, as if none took any time. Who thinks after an answer thinks from then on.
pub fn answers(workload: &Workload, length: Duration, seed: u64) -> Result<Trace, TraceError> {
    if let Workload::Replay(trace) = workload {
        return Ok(trace.clone());
    }
    let mut source = Source::new(workload, length, seed);
    let mut transfers = Vec::new();
    while let Some(at) = source.next_at() {
        let Some(arrival) = source.pop(at) else { break };
        if arrival.transfer.direction == Direction::Down {
            transfers.push(arrival.transfer);
        }
        if transfers.len() > TRACE_TRANSFERS_MAX {
            return Err(TraceError::TooMany);
        }
        source.handle_done(&arrival, at);
    }
    Trace::new(transfers)
}

struct Fluid {
    pacer: Pacer,
    queue: Queue,
    /// What the quota holds back.
    held: Vec<(Transfer, u64)>,
    /// Bytes of data that the last decision has room for.
    bound: f64,
    decisions: u64,
    sent_bytes: f64,
    application_bytes: f64,
}

impl Fluid {
    fn take(&mut self, transfer: &Transfer) {
        self.let_in(*transfer, transfer.bytes);
    }

    /// What the quota does not let in asks again in the next epoch.
    fn let_in(&mut self, transfer: Transfer, bytes: u64) {
        let admitted = self.pacer.admit(transfer.client, bytes);
        let is_last = admitted >= bytes;
        if admitted > 0 {
            self.queue.push(is_last.then_some(transfer.at), admitted);
        }
        if !is_last {
            self.held.push((transfer, bytes - admitted));
        }
    }

    fn step(&mut self, slot: u64, unix_s: u64, slot_s: f64, end: Duration) {
        let sight = Sight { slot, unix_s, queue_bytes: self.queue.bytes.round() as u64, sent_bytes: 0 };
        if self.pacer.look(&sight) {
            for (transfer, bytes) in std::mem::take(&mut self.held) {
                self.let_in(transfer, bytes);
            }
        }
        if self.pacer.queue_decisions() > self.decisions {
            self.decisions = self.pacer.queue_decisions();
            self.bound = self.queue.bytes;
        }
        let bytes = self.pacer.exact_bytes_per_second().unwrap_or(0.0) * slot_s;
        self.sent_bytes += bytes;
        let taken = self.queue.take(bytes.min(self.bound), end);
        self.bound -= bytes.min(self.bound);
        self.application_bytes += taken;
    }
}

/// First come, first served.
#[derive(Debug, Default)]
struct Queue {
    /// The moment at which a transfer came, with the last bytes of it.
    waiting: VecDeque<(Option<Duration>, f64)>,
    bytes: f64,
    latencies: Vec<Duration>,
}

/// Less than this is left of a transfer by rounding only.
const CRUMB_BYTES: f64 = 1e-6;

impl Queue {
    fn push(&mut self, at: Option<Duration>, bytes: u64) {
        self.waiting.push_back((at, bytes as f64));
        self.bytes += bytes as f64;
    }

    /// Takes up to `room` bytes. Transfers that this completes are over at `end`.
    fn take(&mut self, room: f64, end: Duration) -> f64 {
        let mut left = room;
        while left > 0.0 {
            let Some((at, bytes)) = self.waiting.front_mut() else { break };
            let taken = bytes.min(left);
            *bytes -= taken;
            left -= taken;
            self.bytes -= taken;
            if *bytes <= CRUMB_BYTES {
                self.latencies.extend(at.map(|at| end.saturating_sub(at)));
                self.waiting.pop_front();
            }
        }
        room - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Exchanges;

    #[test]
    fn answers_are_those_that_are_asked_for() -> Result<(), Box<dyn std::error::Error>> {
        let length = Duration::from_secs(100);
        let asked = answers(&Workload::Exchanges(Exchanges::video(3)?), length, 1)?;
        assert_eq!((asked.transfers().len(), asked.bytes(Direction::Up)), (3 * 20, 0));
        let replayed = answers(&Workload::Replay(asked.clone()), length, 2)?;
        assert_eq!(replayed, asked);
        let thinking = answers(&Workload::Exchanges(Exchanges::waiting_web(64)?), length, 1)?;
        // 64 Poisson processes of 10 s in 100 s: 640 with a standard deviation of 25.
        assert!((540..740).contains(&thinking.transfers().len()), "{}", thinking.transfers().len());
        Ok(())
    }
}
