//! What some networks do to a pair of addresses and ports that they have had enough of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bytes that a throttled pair may send at once.
const BURST: f64 = 64_000.0;
/// Bytes of IPv4 and UDP header.
const HEADERS: f64 = 28.0;

/// Lets throttled pairs through at a rate, and drops the rest. Each direction is judged alone. Without rules it lets
/// everything through.
#[derive(Debug, Default)]
pub struct Policer {
    /// Bits a second of a throttled pair.
    rate: f64,
    /// All pairs of this sender, so long after their first packet.
    after: Vec<(IpAddr, Duration)>,
    /// These, from now on.
    throttled: BTreeSet<(SocketAddr, SocketAddr)>,
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    first_at: Duration,
    newest_at: Duration,
    tokens: f64,
    refilled_at: Duration,
}

impl Policer {
    /// Throttles pairs to `bits_per_second` that this host sends on, so long after the first packet of each.
    pub fn throttle_after(&mut self, sender: IpAddr, bits_per_second: u32, after: Duration) {
        self.rate = f64::from(bits_per_second);
        self.after.push((sender, after));
    }

    /// Throttles the pair that this host has sent on last to `bits_per_second`.
    pub fn throttle_present(&mut self, sender: IpAddr, bits_per_second: u32) {
        self.rate = f64::from(bits_per_second);
        let own = self.flows.iter().filter(|((from, _), _)| from.ip() == sender);
        self.throttled.extend(own.max_by_key(|(_, flow)| flow.newest_at).map(|(pair, _)| *pair));
    }

    /// Pairs of ports that this host has sent on.
    pub fn pairs_of(&self, sender: IpAddr) -> usize {
        self.flows.keys().filter(|(from, _)| from.ip() == sender).count()
    }

    pub(crate) fn passes(&mut self, now: Duration, from: SocketAddr, to: SocketAddr, bytes: usize) -> bool {
        let fresh = Flow { first_at: now, newest_at: now, tokens: BURST, refilled_at: now };
        let flow = self.flows.entry((from, to)).or_insert(fresh);
        flow.newest_at = now;
        let late = |(sender, after): &(IpAddr, Duration)| *sender == from.ip() && now >= flow.first_at + *after;
        if !self.throttled.contains(&(from, to)) && !self.after.iter().any(late) {
            flow.refilled_at = now;
            return true;
        }
        flow.tokens += (now - flow.refilled_at).as_secs_f64() * self.rate / 8.0;
        (flow.tokens, flow.refilled_at) = (flow.tokens.min(BURST), now);
        let cost = bytes as f64 + HEADERS;
        let passes = flow.tokens >= cost;
        if passes {
            flow.tokens -= cost;
        }
        passes
    }
}
