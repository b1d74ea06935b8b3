//! One end: a tunnel, a session, and a flow that is written or read as fast as it goes.

use super::{CircuitNumber, PACKET_BYTES};
use bytes::Bytes;
use conflux::{LegId, SlotUse, Tunnel, TunnelEvent};
use session::{FlowId, Session, SessionEvent, StreamState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::flow::{FlowKind, Syn};

/// Unsent bytes kept in the session while there is more to write.
const AHEAD: u64 = 192 * 1024;
/// Bytes of one write.
const PORTION: u64 = 16 * 1024;

/// Bytes that were read, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// How many were read up to then.
    pub bytes: u64,
}

/// One end.
pub struct End {
    /// Its tunnel; an exit has none before the first LINK.
    pub tunnel: Option<Tunnel<CircuitNumber>>,
    /// Its session.
    pub session: Session,
    /// Its legs, by circuit.
    pub legs: BTreeMap<CircuitNumber, LegId>,
    numbers: BTreeMap<CircuitNumber, u64>,
    seen: BTreeMap<CircuitNumber, BTreeSet<u64>>,
    opens: bool,
    flow: Option<FlowId>,
    /// Bytes of the flow that are to be written in all.
    pub to_write: u64,
    written: u64,
    /// Bytes of the flow that were read, all of them right.
    pub read: u64,
    /// When they were read.
    pub samples: Vec<Sample>,
    /// Whether the other end's last byte was read.
    pub finished: bool,
    /// Circuits that are out of use and can be taken down.
    pub(super) released: Vec<CircuitNumber>,
    /// What happened to the tunnel.
    pub events: Vec<TunnelEvent>,
    /// Data cells that left, by circuit, in order.
    pub data_cells: Vec<CircuitNumber>,
    /// Most bytes that waited for order.
    pub held_peak: usize,
}

/// The byte of a flow at a place: a wrong order shows.
fn byte_at(place: u64) -> u8 {
    (place % 251) as u8 ^ (place >> 12) as u8
}

impl End {
    pub(super) fn new(tunnel: Option<Tunnel<CircuitNumber>>, session: Session, opens: bool) -> Self {
        Self {
            tunnel,
            session,
            legs: BTreeMap::new(),
            numbers: BTreeMap::new(),
            seen: BTreeMap::new(),
            opens,
            flow: None,
            to_write: 0,
            written: 0,
            read: 0,
            samples: Vec::new(),
            finished: false,
            released: Vec::new(),
            events: Vec::new(),
            data_cells: Vec::new(),
            held_peak: 0,
        }
    }

    /// Whether the session is up.
    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Bytes of the flow that were in no packet.
    pub fn unsent(&self) -> u64 {
        self.to_write - self.written + self.session.unsent_bytes()
    }

    /// The longest time in which nothing was read, between the first byte and the last.
    pub fn longest_pause(&self) -> Duration {
        let pauses = self.samples.windows(2).map(|pair| pair[1].at - pair[0].at);
        pauses.max().unwrap_or_default()
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let tunnel = self.tunnel.as_ref().and_then(Tunnel::poll_timeout);
        [tunnel, self.session.poll_timeout()].into_iter().flatten().min()
    }

    pub(super) fn handle_cell(&mut self, now: Instant, circuit: CircuitNumber, number: u64, inner: &[u8]) {
        if !self.opens_layer(circuit, number) {
            return;
        }
        let (Some(tunnel), Some(&leg)) = (self.tunnel.as_mut(), self.legs.get(&circuit)) else { return };
        tunnel.handle_cell(now, leg, number, inner);
        self.held_peak = self.held_peak.max(tunnel.held_bytes());
        self.take_packets(now);
    }

    /// What layers do: each number passes once.
    pub(super) fn opens_layer(&mut self, circuit: CircuitNumber, number: u64) -> bool {
        self.seen.entry(circuit).or_default().insert(number)
    }

    fn take_packets(&mut self, now: Instant) {
        let Some(tunnel) = self.tunnel.as_mut() else { return };
        while let Some(packet) = tunnel.poll_packet(now) {
            self.session.handle_packet(now, &packet);
        }
    }

    /// Lets time pass and returns the cells that leave now.
    pub(super) fn pump(&mut self, now: Instant, sends: bool) -> Vec<(CircuitNumber, u64, Vec<u8>)> {
        if let Some(tunnel) = self.tunnel.as_mut() {
            tunnel.handle_timeout(now);
        }
        self.take_packets(now);
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        self.settle(now);
        let mut cells = Vec::new();
        if sends {
            self.own_cells(now, &mut cells);
            self.data_cells(now, &mut cells);
        }
        let Some(tunnel) = self.tunnel.as_mut() else { return cells };
        self.events.extend(std::iter::from_fn(|| tunnel.poll_event()));
        while let Some(released) = tunnel.poll_released() {
            self.released.push(released.carrier);
        }
        cells
    }

    fn own_cells(&mut self, now: Instant, cells: &mut Vec<(CircuitNumber, u64, Vec<u8>)>) {
        let Some(tunnel) = self.tunnel.as_mut() else { return };
        let mut message = Vec::new();
        while let Some(leg) = tunnel.poll_own(now) {
            let Some(&circuit) = tunnel.carrier(leg) else { return };
            let number = next_number(&mut self.numbers, circuit);
            let Some(header) = tunnel.own_header(now, leg, number, &mut message) else { return };
            cells.push((circuit, number, [&header.encode()[..], &message].concat()));
        }
    }

    fn data_cells(&mut self, now: Instant, cells: &mut Vec<(CircuitNumber, u64, Vec<u8>)>) {
        let mut packet = Vec::new();
        loop {
            self.write();
            let Some(tunnel) = self.tunnel.as_mut() else { return };
            let waiting = self.session.unsent_bytes() / PACKET_BYTES as u64;
            let Some(leg) = tunnel.poll_data(now, waiting) else { return };
            packet.clear();
            if self.session.poll_packet(now, &mut packet).is_none() {
                tunnel.handle_idle(now);
                return;
            }
            let Some(&circuit) = tunnel.carrier(leg) else { return };
            let number = next_number(&mut self.numbers, circuit);
            let Some(header) = tunnel.data_header(now, leg, number, packet.len() as u16) else { return };
            self.data_cells.push(circuit);
            cells.push((circuit, number, [&header.encode()[..], &packet].concat()));
            while let Some(leg) = tunnel.poll_copy() {
                let Some(&circuit) = tunnel.carrier(leg) else { continue };
                let number = next_number(&mut self.numbers, circuit);
                let Some(header) = tunnel.copy_header(now, leg, number, packet.len() as u16) else { continue };
                self.data_cells.push(circuit);
                cells.push((circuit, number, [&header.encode()[..], &packet].concat()));
            }
            self.settle(now);
        }
    }

    /// The cells of a slot: so many on each leg, whatever there is to send.
    pub(super) fn slot_cells(&mut self, now: Instant, per_leg: u32) -> Vec<(CircuitNumber, u64, Vec<u8>)> {
        let legs: Vec<_> = self.legs.iter().map(|(circuit, leg)| (*circuit, *leg)).collect();
        let mut cells = Vec::new();
        for (circuit, leg) in (0..per_leg).flat_map(|_| legs.iter().copied()) {
            self.write();
            let Some(tunnel) = self.tunnel.as_mut() else { return cells };
            let (number, mut body) = (next_number(&mut self.numbers, circuit), Vec::new());
            let has_packet =
                tunnel.slot_use(now, leg) == SlotUse::Data && self.session.poll_packet(now, &mut body).is_some();
            let header = if has_packet {
                self.data_cells.push(circuit);
                tunnel.data_header(now, leg, number, body.len() as u16)
            } else {
                tunnel.own_header(now, leg, number, &mut body)
            };
            let Some(header) = header else { return cells };
            cells.push((circuit, number, [&header.encode()[..], &body].concat()));
            self.settle(now);
        }
        cells
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Connected { .. } if self.opens => {
                    let destination = SocketAddr::from(([192, 0, 2, 80], 80)).into();
                    self.flow = self.session.open_flow(&Syn { kind: FlowKind::Stream, client: 7, destination }).ok();
                }
                SessionEvent::FlowOpened(flow, _) => self.flow = Some(flow),
                SessionEvent::Readable(flow) => self.read(now, flow),
                _ => {}
            }
        }
        self.write();
    }

    fn read(&mut self, now: Instant, flow: FlowId) {
        let mut place = self.read;
        let outcome = self.session.read(now, flow, usize::MAX, &mut |bytes| {
            for byte in bytes {
                assert_eq!(*byte, byte_at(place), "the flow is wrong at {place}");
                place += 1;
            }
        });
        if place > self.read {
            self.read = place;
            self.samples.push(Sample { at: now, bytes: place });
        }
        self.finished |= outcome.state == StreamState::Finished;
    }

    fn write(&mut self) {
        let Some(flow) = self.flow else { return };
        while self.written < self.to_write && self.session.unsent_bytes() < AHEAD {
            let until = self.to_write.min(self.written + PORTION);
            let bytes: Vec<u8> = (self.written..until).map(byte_at).collect();
            match self.session.write(flow, Bytes::from(bytes)) {
                Ok(taken) if taken > 0 => self.written += taken as u64,
                _ => return,
            }
            if self.written == self.to_write {
                self.session.finish(flow);
            }
        }
    }
}

fn next_number(numbers: &mut BTreeMap<CircuitNumber, u64>, circuit: CircuitNumber) -> u64 {
    let number = numbers.entry(circuit).or_default();
    *number += 1;
    *number - 1
}
