//! What a relay has done. Sums only: nothing here says who talks to whom.

/// Counts since the relay was made. What became of packets before they were cells is in [`link::Counters`], of cells that
/// were no circuit's in [`onion::Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Cells that went on, or were made for a client here.
    pub sent: u64,
    /// Of these, those that waited.
    pub waited: u64,
    /// Cells for the last hop that were handed over.
    pub delivered: u64,
    /// Cells for the last hop at a relay that is no exit: clients keep unfinished circuits alive with them.
    pub undeliverable: u64,
    /// Dropped because the circuit had its share of waiting cells: its oldest one.
    pub dropped_circuit_full: u64,
    /// Dropped because the neighbour had its share of waiting cells.
    pub dropped_neighbour_full: u64,
    /// Dropped because all room for waiting cells was taken: the oldest one of the circuit with most.
    pub dropped_memory_full: u64,
    /// Dropped because they had waited too long to be of use.
    pub dropped_stale: u64,
    /// Dropped because the link that they were for is down.
    pub dropped_link_down: u64,
    /// Dials that were begun.
    pub dials: u64,
    /// Dials that nobody answered.
    pub dials_failed: u64,
    /// Links that were closed because nothing had used them for long.
    pub links_idle: u64,
    /// Links that were closed because the neighbour did not answer any more.
    pub links_dead: u64,
    /// How often links went to another pair of ports, of both kinds: dialled here, and by others.
    pub hops: u64,
    /// Events that nobody took.
    pub events_lost: u64,
}
