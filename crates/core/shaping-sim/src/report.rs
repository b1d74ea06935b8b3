//! What came of a run.

use crate::cost::Cost;
use crate::latencies::Latencies;
use crate::trace::Direction;
use std::time::Duration;

/// Both directions, and what applications waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// To servers.
    pub up: DirectionReport,
    /// From servers.
    pub down: DirectionReport,
    /// From the request to the last byte of the answer. None in a replayed trace.
    pub exchanges: Latencies,
    /// How long bytes were counted.
    pub measured: Duration,
}

impl Report {
    /// One of the two.
    pub fn direction(&self, direction: Direction) -> &DirectionReport {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// (wire - application) / application over both directions; none where nothing was delivered.
    pub fn overhead(&self) -> Option<f64> {
        let wire = self.up.wire_bytes + self.down.wire_bytes;
        overhead(wire, self.up.application_bytes + self.down.application_bytes)
    }

    /// What applications waited for: exchanges, or transfers down where there were none.
    pub fn latency(&self) -> Latencies {
        if self.exchanges.count > 0 { self.exchanges } else { self.down.latency }
    }

    /// Bytes that no queue had room for, both directions.
    pub fn dropped_bytes(&self) -> u64 {
        self.up.dropped_bytes + self.down.dropped_bytes
    }
}

/// One direction.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectionReport {
    /// UDP payload that left in the measured time, whole packets, cover and headers included.
    pub wire_bytes: u64,
    /// Application bytes that left in the measured time.
    pub application_bytes: u64,
    /// Application bytes that came in the whole run.
    pub arrived_bytes: u64,
    /// Of those, the ones that no queue had room for.
    pub dropped_bytes: u64,
    /// Of those, the ones that still waited when the run ended.
    pub waiting_bytes: u64,
    /// Cells that left in the measured time.
    pub cells: u64,
    /// Of those, the ones with application bytes in them.
    pub useful_cells: u64,
    /// From the moment a transfer was handed over to the one at which its last byte left.
    pub latency: Latencies,
    /// What the schedule let out.
    pub cost: Cost,
    /// Bytes per second that the quota lets a client send at most, where there is a quota.
    pub speed_limit_bytes_per_second: Option<u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
}

/// One second of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// UDP payload.
    pub wire_bytes: u64,
    /// Application bytes that came.
    pub arrived_bytes: u64,
    /// Application bytes that left.
    pub application_bytes: u64,
}

impl DirectionReport {
    /// (wire - application) / application; none where nothing was delivered.
    pub fn overhead(&self) -> Option<f64> {
        overhead(self.wire_bytes, self.application_bytes)
    }

    /// Cells with application bytes among all; 0 where there were none.
    pub fn useful_share(&self) -> f64 {
        if self.cells == 0 { 0.0 } else { self.useful_cells as f64 / self.cells as f64 }
    }

    /// Wire bytes per second over the measured time.
    pub fn wire_bytes_per_second(&self, measured: Duration) -> f64 {
        self.wire_bytes as f64 / measured.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

fn overhead(wire_bytes: u64, application_bytes: u64) -> Option<f64> {
    let application = application_bytes as f64;
    (application_bytes > 0).then(|| (wire_bytes as f64 - application) / application)
}
