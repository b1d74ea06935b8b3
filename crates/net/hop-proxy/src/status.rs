//! What an end does at present, for its operator.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use port_hopping::causes::Cause;

use crate::counters::Counters;

/// Most flows that are told of; [`Counters::flows`] says how many there are.
pub const STATUS_FLOWS_MAX: usize = 256;
/// Hops of a flow whose causes are remembered. The oldest is forgotten.
const CAUSES_MAX: usize = 4;

/// The state of an end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its flows, at most [`STATUS_FLOWS_MAX`].
    pub flows: Vec<FlowStatus>,
    /// Where it listens, at most [`STATUS_FLOWS_MAX`].
    pub listening: Vec<SocketAddr>,
    /// Places of servers that are held for blocked, and for how much longer (client).
    pub blocked: Vec<(SocketAddr, Duration)>,
    /// Everything that was counted.
    pub counters: Counters,
}

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowStatus {
    /// Whose it is: the local program (client), the sender as it is seen here (server); none before it is known.
    pub of: Option<SocketAddr>,
    /// This end of the pair in use.
    pub local: Option<SocketAddr>,
    /// The other end of it: a port of the server (client), the target (server).
    pub remote: Option<SocketAddr>,
    /// How long the pair has been in use; for a server, how long there has been a flow.
    pub age: Duration,
    /// Bytes of the program and its target in that time, both directions.
    pub bytes: u64,
    /// How long nothing has passed.
    pub idle: Duration,
    /// Hops since the flow began (client).
    pub hops: u64,
    /// Causes of the last of them, oldest first (client).
    pub causes: Vec<Cause>,
}

/// How long a flow has been on its pair, and how it came there.
#[derive(Debug)]
pub(crate) struct Stay {
    since: Instant,
    bytes: u64,
    hops: u64,
    causes: [Option<Cause>; CAUSES_MAX],
}

impl Stay {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, hops: 0, causes: [None; CAUSES_MAX] }
    }

    pub(crate) fn note_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// The flow is on another pair; `cause` is none where it was not a hop of its own.
    pub(crate) fn begin(&mut self, now: Instant, cause: Option<Cause>) {
        (self.since, self.bytes) = (now, 0);
        if cause.is_some() {
            self.hops += 1;
            self.causes.rotate_left(1);
            self.causes[CAUSES_MAX - 1] = cause;
        }
    }

    /// The row of the flow, its places left open.
    pub(crate) fn row(&self, now: Instant, active: Instant) -> FlowStatus {
        FlowStatus {
            of: None,
            local: None,
            remote: None,
            age: now.saturating_duration_since(self.since),
            bytes: self.bytes,
            idle: now.saturating_duration_since(active),
            hops: self.hops,
            causes: self.causes.iter().flatten().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_remembers_the_last_causes_and_counts_all() {
        let start = Instant::now();
        let mut stay = Stay::new(start);
        stay.note_bytes(7);
        assert_eq!((stay.row(start, start).bytes, stay.row(start, start).causes.len()), (7, 0));
        for _ in 0..5 {
            stay.begin(start, Some(Cause::Interval));
        }
        stay.begin(start, Some(Cause::Loss));
        stay.begin(start, None);
        let row = stay.row(start + Duration::from_secs(3), start + Duration::from_secs(1));
        assert_eq!((row.hops, row.bytes, row.age, row.idle), (6, 0, Duration::from_secs(3), Duration::from_secs(2)));
        assert_eq!(row.causes, [Cause::Interval, Cause::Interval, Cause::Interval, Cause::Loss]);
    }
}
