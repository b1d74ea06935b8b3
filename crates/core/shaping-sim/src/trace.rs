//! Traces: who hands over how many bytes when, whatever becomes of them.
//!
//! A trace is open loop: nothing in it reacts to how fast bytes leave. Traffic that reacts is [`crate::Exchanges`].

use std::time::Duration;
use thiserror::Error;

mod csv;
pub mod pcap;

pub use csv::{CsvError, CsvProblem, parse_csv};

/// Most clients of a trace.
pub const TRACE_CLIENTS_MAX: u32 = 65_536;
/// Most transfers of a trace; it takes 160 MB of memory then.
pub const TRACE_TRANSFERS_MAX: usize = 1 << 22;
/// Longest trace: a week.
pub const TRACE_LENGTH_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Largest transfer in bytes, 1.1 TB.
pub const TRANSFER_BYTES_MAX: u64 = 1 << 40;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From a client's application to a server.
    Up,
    /// From a server to a client's application.
    Down,
}

/// A client of a trace, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u32);

/// Bytes that are handed over at one moment. They arrive when the last of them has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    /// Since the beginning of the trace, at most [`TRACE_LENGTH_MAX`].
    pub at: Duration,
    /// Below [`TRACE_CLIENTS_MAX`].
    pub client: Client,
    /// Which way.
    pub direction: Direction,
    /// 1..=[`TRANSFER_BYTES_MAX`].
    pub bytes: u64,
}

/// What cannot be a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TraceError {
    /// No transfer at all.
    #[error("nothing is transferred; a trace needs at least one transfer of at least one byte")]
    Empty,
    /// Too many.
    #[error("there are more than {TRACE_TRANSFERS_MAX} transfers; take a shorter part")]
    TooMany,
    /// Too many clients.
    #[error("there are more than {TRACE_CLIENTS_MAX} clients; take a part of them")]
    Clients,
    /// Too long.
    #[error("it is longer than {} s; take a shorter part", TRACE_LENGTH_MAX.as_secs())]
    Length,
    /// A transfer of nothing, or of too much.
    #[error("a transfer of {0} bytes is outside 1..={TRANSFER_BYTES_MAX}; leave it out or divide it")]
    Bytes(u64),
}

/// Transfers in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    transfers: Vec<Transfer>,
    clients: u32,
}

impl Trace {
    /// Sorts and checks. Clients are those up to the highest number.
    pub fn new(mut transfers: Vec<Transfer>) -> Result<Self, TraceError> {
        if transfers.len() > TRACE_TRANSFERS_MAX {
            return Err(TraceError::TooMany);
        }
        transfers.sort_unstable();
        let last = transfers.last().ok_or(TraceError::Empty)?;
        if last.at > TRACE_LENGTH_MAX {
            return Err(TraceError::Length);
        }
        if let Some(bad) = transfers.iter().find(|transfer| !(1..=TRANSFER_BYTES_MAX).contains(&transfer.bytes)) {
            return Err(TraceError::Bytes(bad.bytes));
        }
        let highest = transfers.iter().map(|transfer| transfer.client.0).max().unwrap_or(0);
        if highest >= TRACE_CLIENTS_MAX {
            return Err(TraceError::Clients);
        }
        Ok(Self { transfers, clients: highest + 1 })
    }

    /// The transfers, earliest first.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Number of clients, at least 1.
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// When the last transfer begins.
    pub fn length(&self) -> Duration {
        self.transfers.last().map_or(Duration::ZERO, |transfer| transfer.at)
    }

    /// Bytes of all transfers of a direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        let of_direction = self.transfers.iter().filter(|transfer| transfer.direction == direction);
        // 2^22 transfers of 2^40 bytes are 2^62.
        of_direction.map(|transfer| transfer.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(at_s: u64, client: u32, bytes: u64) -> Transfer {
        Transfer { at: Duration::from_secs(at_s), client: Client(client), direction: Direction::Down, bytes }
    }

    #[test]
    fn transfers_are_sorted_and_counted() -> Result<(), TraceError> {
        let trace = Trace::new(vec![transfer(9, 0, 5), transfer(1, 7, 10)])?;
        assert_eq!(trace.transfers()[0], transfer(1, 7, 10));
        assert_eq!((trace.clients(), trace.length()), (8, Duration::from_secs(9)));
        assert_eq!((trace.bytes(Direction::Down), trace.bytes(Direction::Up)), (15, 0));
        Ok(())
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(Trace::new(Vec::new()), Err(TraceError::Empty));
        assert_eq!(Trace::new(vec![transfer(0, 0, 0)]), Err(TraceError::Bytes(0)));
        let much = TRANSFER_BYTES_MAX + 1;
        assert_eq!(Trace::new(vec![transfer(0, 0, much)]), Err(TraceError::Bytes(much)));
        assert_eq!(Trace::new(vec![transfer(0, TRACE_CLIENTS_MAX, 1)]), Err(TraceError::Clients));
        assert_eq!(Trace::new(vec![transfer(7 * 24 * 3_600 + 1, 0, 1)]), Err(TraceError::Length));
    }
}
