//! A run: traffic through both directions of a node, slot by slot, on virtual time.

use crate::latencies::Latencies;
use crate::mode::{Mode, ModeError};
use crate::pacer::{Lattice, NoiseFrom};
use crate::report::Report;
use crate::trace::{Direction, TRACE_LENGTH_MAX};
use crate::traffic::{Arrival, Source, Workload};
use shaping::SlotLength;
use std::time::Duration;
use thiserror::Error;

mod bins;
mod lane;

pub use bins::BINS_MAX;
use bins::Bins;
use lane::Lane;

/// Most transfers of a run; a longer one ends with an error.
pub const RUN_TRANSFERS_MAX: usize = 1 << 24;
/// Longest lead time, and longest way between the nodes.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Latest second at which a run begins, 35,000 years from 1970.
const START_MAX: u64 = 1 << 40;
/// Bytes of a session packet that carry no application byte: QUIC's short header (1), packet number (up to 4), tag (16)
/// and the head of a stream frame (up to 9). docs/spec/session.md counts 30 for a datagram as well.
pub const SESSION_HEAD_BYTES: usize = 30;
/// Without a schedule an acknowledgement has a packet of its own, one for this many.
const PACKETS_PER_ACKNOWLEDGEMENT: u64 = 16;

/// What is the same for every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Length of a slot.
    pub slot: SlotLength,
    /// How long before its slot a cell is filled.
    pub lead: Duration,
    /// From a slot to the other node. Latencies count it, and an answer waits for it.
    pub one_way: Duration,
    /// Room of a client's ring in each direction.
    pub ring_bytes: u64,
    /// What a client's turn is worth. A node gives turns of one cell; the longer turns are, the nearer service comes to first
    /// come, first served.
    pub turn_bytes: u64,
    /// P, UDP payload of a packet.
    pub packet_bytes: usize,
    /// Session bytes in a cell, more than [`SESSION_HEAD_BYTES`] and at most P.
    pub session_packet: usize,
    /// UTC second at which the run begins. Edges are its multiples.
    pub start_unix_s: u64,
    /// How long traffic comes and bytes are counted, at most [`TRACE_LENGTH_MAX`].
    pub measured: Duration,
    /// How much longer what is under way may take; its latency counts, its bytes do not.
    pub drain: Duration,
    /// Replays the run: traffic and noise.
    pub seed: u64,
}

impl Setup {
    /// A node as it comes: slots of 5 ms, 1 ms lead, rings of 256 KiB, P = 1350; no network between the two nodes.
    pub fn new(measured: Duration, seed: u64) -> Self {
        Self {
            slot: SlotLength::DEFAULT,
            lead: Duration::from_millis(1),
            one_way: Duration::ZERO,
            ring_bytes: 256 * 1024,
            turn_bytes: 1222,
            packet_bytes: 1350,
            session_packet: 1222,
            start_unix_s: 1_800_000_000,
            measured,
            drain: Duration::from_secs(60),
            seed,
        }
    }

    /// Application bytes in a cell.
    pub fn cell_payload(&self) -> u64 {
        self.session_packet.saturating_sub(SESSION_HEAD_BYTES) as u64
    }

    pub(crate) fn grid(&self) -> Lattice {
        Lattice { slot: self.slot, session_packet: self.session_packet }
    }

    pub(crate) fn check(&self) -> Result<(), RunError> {
        if self.measured.is_zero() || self.measured > TRACE_LENGTH_MAX || self.drain > TRACE_LENGTH_MAX {
            return Err(RunError::Length);
        }
        if self.lead > DELAY_MAX || self.one_way > DELAY_MAX || self.start_unix_s > START_MAX {
            return Err(RunError::Time);
        }
        let fits = self.session_packet > SESSION_HEAD_BYTES && self.session_packet <= self.packet_bytes;
        if !fits || self.packet_bytes > usize::from(u16::MAX) {
            return Err(RunError::Packet);
        }
        if self.ring_bytes == 0 || self.turn_bytes == 0 { Err(RunError::Ring) } else { Ok(()) }
    }
}

/// A run that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum RunError {
    /// Too long, or nothing.
    #[error("a run measures more than nothing and at most {} s, and drains as long at most", TRACE_LENGTH_MAX.as_secs())]
    Length,
    /// A delay or a date beyond all use.
    #[error("lead time and way between the nodes take at most {} s, and a run begins by the second {START_MAX}", DELAY_MAX.as_secs())]
    Time,
    /// Sizes that do not fit into each other.
    #[error("a session packet has more than {SESSION_HEAD_BYTES} bytes and fits into the packet of at most 65535")]
    Packet,
    /// No room at all.
    #[error("a ring or a turn of 0 bytes lets nothing through")]
    Ring,
    /// Too much traffic.
    #[error("the run has more than {RUN_TRANSFERS_MAX} transfers; make it shorter, or with fewer clients")]
    TooManyTransfers,
    /// Nothing, or too many.
    #[error("an observer has 1 to {BINS_MAX} bins; make them longer")]
    Bins,
    /// The mode does not fit.
    #[error("{0}")]
    Mode(#[from] ModeError),
    /// What this kind of run does not do.
    #[error("mode off has no rate; only a run in slots has it")]
    NoRate,
}

/// Sends the workload through a node whose directions have these modes.
pub fn run(workload: &Workload, up: &Mode, down: &Mode, setup: &Setup) -> Result<Report, RunError> {
    let mut run = Run::new(workload, [up, down], setup, setup.seed)?;
    run.go()?;
    Ok(run.report())
}

/// What somebody sees who watches the wire of such a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// UDP payload in each bin of the measured time, towards servers. Acknowledgements of mode `off` are left out.
    pub up: Vec<u64>,
    /// The same from servers.
    pub down: Vec<u64>,
    /// Maximal leakage of both directions in bits; none where it is not bounded.
    pub bits: Option<f64>,
}

/// As [`run()`], for an observer with bins of this length, at most [`BINS_MAX`]. Noise has a seed of its own, so that the
/// same traffic can be seen more than once.
pub fn observe(
    workload: &Workload,
    [up, down]: [&Mode; 2],
    setup: &Setup,
    bin: Duration,
    noise_seed: u64,
) -> Result<Observation, RunError> {
    let mut run = Run::new(workload, [up, down], setup, noise_seed)?;
    run.up.seen = Some(Bins::new(bin, setup.measured)?);
    run.down.seen = Some(Bins::new(bin, setup.measured)?);
    run.go()?;
    let mut taken = |direction| run.lane(direction).seen.take().map(Bins::into_bytes).unwrap_or_default();
    let (up, down) = (taken(Direction::Up), taken(Direction::Down));
    let report = run.report();
    let bits = report.up.cost.bits().zip(report.down.cost.bits()).map(|(up, down)| up + down);
    Ok(Observation { up, down, bits })
}

struct Run<'a> {
    setup: &'a Setup,
    source: Source,
    up: Lane,
    down: Lane,
    exchanges: Vec<Duration>,
    transfers: usize,
}

impl<'a> Run<'a> {
    fn new(workload: &Workload, [up, down]: [&Mode; 2], setup: &'a Setup, noise_seed: u64) -> Result<Self, RunError> {
        setup.check()?;
        let source = Source::new(workload, setup.measured, setup.seed);
        let lane = |mode, stream| Lane::new(mode, workload.clients(), setup, NoiseFrom::Seed(noise_seed, stream));
        Ok(Self { setup, source, up: lane(up, 0)?, down: lane(down, 1)?, exchanges: Vec::new(), transfers: 0 })
    }

    fn go(&mut self) -> Result<(), RunError> {
        let slot_length = self.setup.slot.duration();
        let end = self.setup.measured + self.setup.drain;
        let mut done = Vec::new();
        for slot in 0_u64.. {
            let now = Duration::from_nanos((slot_length.as_nanos() * u128::from(slot)) as u64);
            if now >= end || (now >= self.setup.measured && self.is_idle()) {
                return Ok(());
            }
            self.take_arrivals(now.saturating_sub(self.setup.lead))?;
            for direction in [Direction::Up, Direction::Down] {
                let lane = self.lane(direction);
                lane.handle_slot(slot, now, &mut done);
                let came = now + self.setup.one_way;
                for arrival in done.drain(..) {
                    self.finish(&arrival, came);
                }
            }
        }
        Ok(())
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn is_idle(&self) -> bool {
        self.source.next_at().is_none() && self.up.is_idle() && self.down.is_idle()
    }

    /// What has come until now. Where there is no schedule it leaves at once.
    fn take_arrivals(&mut self, now: Duration) -> Result<(), RunError> {
        while let Some(arrival) = self.source.pop(now) {
            self.transfers += 1;
            if self.transfers > RUN_TRANSFERS_MAX {
                return Err(RunError::TooManyTransfers);
            }
            let lane = self.lane(arrival.transfer.direction);
            if lane.handle_arrival(arrival) {
                let came = arrival.transfer.at + self.setup.one_way;
                self.finish(&arrival, came);
            }
        }
        Ok(())
    }

    fn finish(&mut self, arrival: &Arrival, came: Duration) {
        let took = came.saturating_sub(arrival.transfer.at);
        self.lane(arrival.transfer.direction).latencies.push(took);
        if self.source.handle_done(arrival, came)
            && let Some(begun) = arrival.begun
        {
            self.exchanges.push(came.saturating_sub(begun));
        }
    }

    fn report(self) -> Report {
        let (up_packets, down_packets) = (self.up.packets_without_schedule(), self.down.packets_without_schedule());
        let acknowledgements = |packets: u64| packets.div_ceil(PACKETS_PER_ACKNOWLEDGEMENT);
        let mut up = self.up.report();
        let mut down = self.down.report();
        let packet_bytes = self.setup.packet_bytes as u64;
        up.wire_bytes += acknowledgements(down_packets) * packet_bytes;
        down.wire_bytes += acknowledgements(up_packets) * packet_bytes;
        let exchanges = Latencies::of(self.exchanges);
        Report { up, down, exchanges, measured: self.setup.measured }
    }
}
