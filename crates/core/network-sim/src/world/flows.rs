//! What applications ask for, and how fast they get it.

use super::World;
use crate::calendar::Event;
use crate::sharing::Way;

/// Mean seconds between two requests of a client that is there; the times are a Poisson process.
const REQUEST_EVERY_S: f64 = 40.0;
/// Sizes of answers follow a Pareto law with this exponent, between these bounds: mean about 0.8 MB, half below 0.35 MB.
const SIZE_EXPONENT: f64 = 1.3;
const SIZE: (f64, f64) = (200e3, 1e9);
/// Part of sessions with something long in it, that is paced: bytes a second, and its mean and most seconds.
const STREAMS: f64 = 0.1;
const STREAM_PACE: f64 = 1.5e6 / 8.0;
const STREAM_S: (f64, f64) = (3_600.0, 21_600.0);
/// How long a flow waits for a tunnel before it is refused (docs/circuits.md).
const WAIT_S: u32 = 10;
/// Less than half a byte is none.
const NOTHING: f64 = 0.5;

/// A transfer to a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flow {
    pub(crate) asked: f64,
    pub(crate) left: f64,
    /// Bytes a second that the application takes at most.
    pub(crate) pace: f64,
    pub(crate) begun_s: u32,
}

impl Flow {
    /// What it takes in the next second.
    fn wants(&self) -> f64 {
        self.left.min(self.pace)
    }
}

impl World<'_> {
    /// A session's first request, and perhaps something long.
    pub(super) fn begin_applications(&mut self, number: u32, length_s: f64) {
        if self.settings.traffic <= 0.0 {
            return;
        }
        let session = self.clients[number as usize].session;
        self.next_request(number);
        if self.traffic.unit() < STREAMS {
            let at_s = self.now_s + 5 + (self.traffic.unit() * length_s * 0.5) as u32;
            self.calendar.add(at_s, Event::Stream { client: number, session });
        }
    }

    fn next_request(&mut self, number: u32) {
        let session = self.clients[number as usize].session;
        let after_s = 0.5 + self.traffic.exponential(REQUEST_EVERY_S / self.settings.traffic);
        self.calendar.add(self.now_s + 1.max(after_s as u32), Event::Flow { client: number, session });
    }

    pub(super) fn begin_flow(&mut self, number: u32) {
        self.next_request(number);
        let (least, most) = SIZE;
        let bounded = 1.0 - (least / most).powf(SIZE_EXPONENT);
        let size = least / (1.0 - self.traffic.unit() * bounded).powf(1.0 / SIZE_EXPONENT);
        self.ask(number, size.floor(), f64::INFINITY);
    }

    pub(super) fn begin_stream(&mut self, number: u32) {
        let seconds = self.traffic.exponential(STREAM_S.0).clamp(60.0, STREAM_S.1);
        self.ask(number, (seconds * STREAM_PACE).floor(), STREAM_PACE);
    }

    fn ask(&mut self, number: u32, size: f64, pace: f64) {
        self.tally.flows += 1;
        let client = &mut self.clients[number as usize];
        let Some(tunnel) = client.tunnel else {
            let before = client.waiting.len();
            client.waiting.retain(|(_, since_s)| since_s + WAIT_S >= self.now_s);
            self.tally.refused_flows += (before - client.waiting.len()) as u64;
            client.waiting.push((size, self.now_s));
            return;
        };
        self.put(tunnel, Flow { asked: size, left: size, pace, begun_s: self.now_s });
    }

    /// Flows that waited for a tunnel begin, but those that have given up.
    pub(super) fn begin_waiting(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        let Some(tunnel) = client.tunnel else { return };
        for (size, since_s) in std::mem::take(&mut client.waiting) {
            if since_s + WAIT_S < self.now_s {
                self.tally.refused_flows += 1;
            } else {
                self.put(tunnel, Flow { asked: size, left: size, pace: f64::INFINITY, begun_s: since_s });
            }
        }
    }

    fn put(&mut self, place: u32, flow: Flow) {
        debug_assert!(!self.is_retired(place), "a retired tunnel takes no flow");
        let tunnel = self.tunnels.at_mut(place);
        tunnel.flows.push(flow);
        if !std::mem::replace(&mut tunnel.is_active, true) {
            self.active.push(place);
        }
    }

    /// A second of all transfers: relays share their bytes between the legs that want to carry, tunnels theirs between flows.
    pub(super) fn carry(&mut self) {
        let mut active = std::mem::take(&mut self.active);
        active.retain(|place| {
            let has_flows = !self.tunnels.at(*place).flows.is_empty();
            if !has_flows {
                self.free_tunnel(*place);
            }
            has_flows
        });
        self.list_wishes(&active);
        let rates = self.sharing.share(&self.capacities, &self.demands, &self.ways);
        let mut shares = vec![0.0; active.len()];
        for (way, rate) in self.ways.iter().zip(rates) {
            shares[way.tunnel as usize] += rate;
            self.tally.carry(way.relays, *rate);
        }
        for (place, share) in active.iter().zip(shares) {
            self.serve(*place, share);
            self.end_retired(*place);
        }
        self.active = active;
    }

    fn list_wishes(&mut self, active: &[u32]) {
        self.demands.clear();
        self.ways.clear();
        for place in active {
            let (tunnel, number) = (self.tunnels.at(*place), self.demands.len() as u32);
            let line = self.clients[tunnel.client as usize].line;
            self.demands.push(tunnel.flows.iter().map(Flow::wants).sum::<f64>().min(line));
            let up = tunnel.legs.iter().filter(|leg| leg.is_up);
            let way = |leg: &super::tunnels::Leg| Way { relays: [leg.guard, leg.middle, tunnel.exit], tunnel: number };
            self.ways.extend(up.map(way));
        }
    }

    /// Gives a tunnel's bytes to its flows, to each the same if it takes them.
    fn serve(&mut self, place: u32, share: f64) {
        let flows = &mut self.tunnels.at_mut(place).flows;
        let mut wants: Vec<(f64, usize)> = flows.iter().zip(0..).map(|(flow, number)| (flow.wants(), number)).collect();
        wants.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let (mut left, mut others) = (share, wants.len() as f64);
        for (want, number) in wants {
            let got = want.min(left / others);
            (left, others) = (left - got, others - 1.0);
            let flow = &mut flows[number];
            flow.left -= got;
            self.tally.got_bytes += got;
        }
        let (tally, now_s) = (&mut self.tally, self.now_s);
        flows.retain(|flow| {
            let is_done = flow.left < NOTHING;
            if is_done {
                tally.finish(flow, now_s);
            }
            !is_done
        });
    }
}
