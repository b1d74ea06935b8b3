//! One direction of a run.

use super::{Bins, RunError, Setup};
use crate::latencies::Latencies;
use crate::lines::Lines;
use crate::mode::Mode;
use crate::pacer::{NoiseFrom, Pacer, Sight};
use crate::report::{DirectionReport, Second};
use crate::traffic::Arrival;
use std::time::Duration;

pub(super) struct Lane {
    pacer: Pacer,
    lines: Lines,
    pub(super) latencies: Vec<Duration>,
    /// What somebody who watches the wire sees, if there is one.
    pub(super) seen: Option<Bins>,
    seconds: Vec<Second>,
    measured: Duration,
    start_unix_s: u64,
    packet_bytes: u64,
    session_packet: u64,
    cell_payload: u64,
    arrived_bytes: u64,
    cells: u64,
    useful_cells: u64,
    packets_without_schedule: u64,
    /// Bytes of session packets with data since the last look.
    sent_bytes: u64,
}

impl Lane {
    pub(super) fn new(mode: &Mode, clients: u32, setup: &Setup, noise: NoiseFrom) -> Result<Self, RunError> {
        let seconds = setup.measured.as_nanos().div_ceil(1_000_000_000) as usize;
        Ok(Self {
            pacer: Pacer::new(mode, setup.grid(), setup.start_unix_s, noise)?,
            lines: Lines::new(clients, setup.ring_bytes, setup.turn_bytes),
            latencies: Vec::new(),
            seen: None,
            seconds: vec![Second::default(); seconds],
            measured: setup.measured,
            start_unix_s: setup.start_unix_s,
            packet_bytes: setup.packet_bytes as u64,
            session_packet: setup.session_packet as u64,
            cell_payload: setup.cell_payload(),
            arrived_bytes: 0,
            cells: 0,
            useful_cells: 0,
            packets_without_schedule: 0,
            sent_bytes: 0,
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lines.waiting_bytes() == 0
    }

    pub(super) fn packets_without_schedule(&self) -> u64 {
        self.packets_without_schedule
    }

    /// Takes a transfer. True if it left at once, as there is no schedule.
    pub(super) fn handle_arrival(&mut self, arrival: Arrival) -> bool {
        let (at, bytes) = (arrival.transfer.at, arrival.transfer.bytes);
        self.arrived_bytes += bytes;
        if let Some(second) = self.second(at) {
            second.arrived_bytes += bytes;
        }
        if self.pacer.cells_in_slot(0).is_some() {
            let pacer = &mut self.pacer;
            self.lines.push(arrival, &mut |client, wanted| pacer.admit(client, wanted));
            return false;
        }
        let packets = bytes.div_ceil(self.cell_payload);
        self.count_cells(at, packets, packets, bytes);
        if at < self.measured {
            self.packets_without_schedule += packets;
        }
        true
    }

    /// Everything that one slot does. Transfers whose last byte leaves go to `done`.
    pub(super) fn handle_slot(&mut self, slot: u64, now: Duration, done: &mut Vec<Arrival>) {
        let Self { pacer, lines, .. } = self;
        lines.top_up(&mut |client, wanted| pacer.admit(client, wanted));
        let sight = Sight {
            slot,
            unix_s: self.start_unix_s + now.as_secs(),
            queue_bytes: lines.in_rings(),
            sent_bytes: std::mem::take(&mut self.sent_bytes),
        };
        if pacer.look(&sight) {
            lines.top_up_all(&mut |client, wanted| pacer.admit(client, wanted));
        }
        let cells = pacer.cells_in_slot(slot).unwrap_or(0);
        let (mut useful, mut bytes) = (0, 0);
        while useful < u64::from(cells) {
            let taken = lines.fill_cell(self.cell_payload, done);
            if taken == 0 {
                break;
            }
            useful += 1;
            bytes += taken;
        }
        self.sent_bytes = useful * self.session_packet;
        self.count_cells(now, u64::from(cells), useful, bytes);
    }

    pub(super) fn report(self) -> DirectionReport {
        let sum = |of: fn(&Second) -> u64| self.seconds.iter().map(of).sum();
        DirectionReport {
            wire_bytes: sum(|second| second.wire_bytes),
            application_bytes: sum(|second| second.application_bytes),
            arrived_bytes: self.arrived_bytes,
            dropped_bytes: self.lines.dropped_bytes(),
            waiting_bytes: self.lines.waiting_bytes(),
            cells: self.cells,
            useful_cells: self.useful_cells,
            cost: self.pacer.cost(),
            speed_limit_bytes_per_second: self.pacer.speed_limit_bytes_per_second(),
            latency: Latencies::of(self.latencies),
            seconds: self.seconds,
        }
    }

    fn count_cells(&mut self, at: Duration, cells: u64, useful: u64, application_bytes: u64) {
        let wire_bytes = cells * self.packet_bytes;
        if let Some(seen) = self.seen.as_mut().filter(|_| at < self.measured) {
            seen.add(at, wire_bytes);
        }
        if let Some(second) = self.second(at) {
            second.wire_bytes += wire_bytes;
            second.application_bytes += application_bytes;
            self.cells += cells;
            self.useful_cells += useful;
        }
    }

    /// The second of a moment in the measured time.
    fn second(&mut self, at: Duration) -> Option<&mut Second> {
        let within = at < self.measured;
        self.seconds.get_mut(at.as_secs() as usize).filter(|_| within)
    }
}
