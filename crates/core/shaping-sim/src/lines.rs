//! The bytes of one direction on their way to slots: rings, what waits for room in them, and turns.
//!
//! As in a node, each client has a ring; what does not fit, or what the quota holds back, waits outside and costs the client
//! nothing but time. Cells are filled by turns: a client whose turn is over goes to the end. In a node a turn is worth one
//! cell.

use crate::trace::Client;
use crate::traffic::Arrival;
use std::collections::VecDeque;

/// Most transfers of one direction that wait; more are dropped and counted.
pub const WAITING_TRANSFERS_MAX: usize = 1 << 20;

/// All clients' bytes of one direction.
#[derive(Debug)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    turns: VecDeque<Client>,
    /// Clients whose ring has been emptied a little since they were last asked for more.
    drained: Vec<Client>,
    ring_bytes: u64,
    turn_bytes: u64,
    /// What the client that is first in line has had of its turn.
    turn_used: u64,
    waiting_transfers: usize,
    in_rings: u64,
    outside: u64,
    dropped_bytes: u64,
}

#[derive(Debug, Default)]
struct Line {
    transfers: VecDeque<Waiting>,
    /// Bytes that may leave.
    in_ring: u64,
    /// Bytes that have not been let in.
    outside: u64,
    has_turn: bool,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    left: u64,
}

impl Lines {
    pub(crate) fn new(clients: u32, ring_bytes: u64, turn_bytes: u64) -> Self {
        Self {
            lines: (0..clients).map(|_| Line::default()).collect(),
            turns: VecDeque::new(),
            drained: Vec::new(),
            ring_bytes,
            turn_bytes,
            turn_used: 0,
            waiting_transfers: 0,
            in_rings: 0,
            outside: 0,
            dropped_bytes: 0,
        }
    }

    /// Bytes that may leave, the length of all queues together.
    pub(crate) fn in_rings(&self) -> u64 {
        self.in_rings
    }

    /// Bytes that have come and not left.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.in_rings + self.outside
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Takes a transfer and lets in what `admit` and the ring allow. `admit` is given what a client wants and says how
    /// much of it may come in.
    pub(crate) fn push(&mut self, arrival: Arrival, admit: &mut dyn FnMut(Client, u64) -> u64) {
        let client = arrival.transfer.client;
        let Some(line) = self.lines.get_mut(client.0 as usize) else { return };
        let bytes = arrival.transfer.bytes;
        if self.waiting_transfers == WAITING_TRANSFERS_MAX {
            self.dropped_bytes += bytes;
            return;
        }
        self.waiting_transfers += 1;
        line.transfers.push_back(Waiting { arrival, left: bytes });
        line.outside += bytes;
        self.outside += bytes;
        self.let_in(client, admit);
    }

    /// Lets in what has room since the last slot.
    pub(crate) fn top_up(&mut self, admit: &mut dyn FnMut(Client, u64) -> u64) {
        for client in std::mem::take(&mut self.drained) {
            self.let_in(client, admit);
        }
    }

    /// Asks again for every client that has bytes outside: an epoch has begun. Whose turn came first in the last slots does
    /// not matter here, as each client has a quota of its own.
    pub(crate) fn top_up_all(&mut self, admit: &mut dyn FnMut(Client, u64) -> u64) {
        self.drained.clear();
        for client in 0..self.lines.len() as u32 {
            self.let_in(Client(client), admit);
        }
    }

    /// Fills one cell with up to `room` bytes. Gives the bytes used; transfers whose last byte is in it go to `done`.
    pub(crate) fn fill_cell(&mut self, room: u64, done: &mut Vec<Arrival>) -> u64 {
        let mut left = room;
        while left > 0 {
            let Some(&client) = self.turns.front() else { break };
            let line = &mut self.lines[client.0 as usize];
            let taken = line.in_ring.min(left).min(self.turn_bytes - self.turn_used);
            left -= taken;
            line.in_ring -= taken;
            self.in_rings -= taken;
            self.turn_used += taken;
            let before = done.len();
            line.take(taken, done);
            self.waiting_transfers -= done.len() - before;
            line.has_turn = line.in_ring > 0;
            if !line.has_turn || self.turn_used == self.turn_bytes {
                self.turn_used = 0;
                self.turns.pop_front();
                self.turns.extend(line.has_turn.then_some(client));
            }
            if line.outside > 0 && self.drained.last() != Some(&client) {
                self.drained.push(client);
            }
        }
        room - left
    }

    fn let_in(&mut self, client: Client, admit: &mut dyn FnMut(Client, u64) -> u64) {
        let Some(line) = self.lines.get_mut(client.0 as usize) else { return };
        let wanted = line.outside.min(self.ring_bytes.saturating_sub(line.in_ring));
        if wanted == 0 {
            return;
        }
        let admitted = admit(client, wanted).min(wanted);
        line.outside -= admitted;
        line.in_ring += admitted;
        self.outside -= admitted;
        self.in_rings += admitted;
        if line.in_ring > 0 && !line.has_turn {
            line.has_turn = true;
            self.turns.push_back(client);
        }
    }
}

impl Line {
    /// Takes bytes from the transfers, first come first served.
    fn take(&mut self, mut bytes: u64, done: &mut Vec<Arrival>) {
        while let Some(first) = self.transfers.front_mut() {
            let taken = first.left.min(bytes);
            first.left -= taken;
            bytes -= taken;
            if first.left > 0 {
                return;
            }
            done.push(first.arrival);
            self.transfers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Direction, Transfer};
    use proptest::prelude::*;
    use std::time::Duration;

    fn arrival(client: u32, bytes: u64) -> Arrival {
        let transfer = Transfer { at: Duration::ZERO, client: Client(client), direction: Direction::Down, bytes };
        Arrival { transfer, begun: None }
    }

    fn all(_: Client, wanted: u64) -> u64 {
        wanted
    }

    #[test]
    fn a_short_transfer_does_not_wait_for_a_long_one_of_somebody_else() {
        let mut lines = Lines::new(3, 1_000, 100);
        lines.push(arrival(0, 900), &mut all);
        lines.push(arrival(1, 150), &mut all);
        let mut done = Vec::new();
        for _ in 0..4 {
            assert_eq!(lines.fill_cell(100, &mut done), 100);
        }
        // Turns: 0, 1, 0, then 50 of 1 and 50 of 0.
        assert_eq!(done, [arrival(1, 150)]);
        assert_eq!(lines.waiting_bytes(), 650);
    }

    #[test]
    fn a_turn_lasts_as_long_as_it_is_worth() {
        let mut lines = Lines::new(2, 1_000, 250);
        lines.push(arrival(0, 400), &mut all);
        lines.push(arrival(1, 300), &mut all);
        let mut done = Vec::new();
        let mut ends = Vec::new();
        while lines.fill_cell(100, &mut done) > 0 {
            ends.push(done.len());
        }
        // 250 of the first, 250 of the second, 150 of the first, 50 of the second.
        assert_eq!(ends, [0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(done, [arrival(0, 400), arrival(1, 300)]);
    }

    #[test]
    fn a_full_ring_and_a_used_quota_hold_back_their_client_only() {
        let mut lines = Lines::new(2, 100, 10);
        let mut quota = 150;
        let mut admit = |_: Client, wanted: u64| {
            let admitted = wanted.min(quota);
            quota -= admitted;
            admitted
        };
        lines.push(arrival(0, 400), &mut admit);
        assert_eq!((lines.in_rings(), lines.waiting_bytes()), (100, 400));
        let mut done = Vec::new();
        assert_eq!(lines.fill_cell(1_000, &mut done), 100, "no more than the ring holds");
        lines.top_up(&mut admit);
        assert_eq!(lines.in_rings(), 50, "no more than the quota allows");
        assert_eq!(lines.fill_cell(1_000, &mut done), 50);
        lines.top_up(&mut admit);
        assert_eq!((lines.in_rings(), lines.waiting_bytes()), (0, 250));
        lines.top_up_all(&mut all);
        assert_eq!(lines.in_rings(), 100, "a new epoch");
    }

    #[test]
    fn more_than_the_bound_is_dropped_and_counted() {
        let mut lines = Lines::new(1, 10, 10);
        for _ in 0..=WAITING_TRANSFERS_MAX {
            lines.push(arrival(0, 3), &mut all);
        }
        assert_eq!((lines.dropped_bytes(), lines.waiting_bytes()), (3, 3 * WAITING_TRANSFERS_MAX as u64));
    }

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_every_transfer_ends(
            transfers in proptest::collection::vec((0_u32..5, 1_u64..5_000), 1..60),
            ring in 1_u64..3_000,
            room in 1_u64..2_000,
            turn in 1_u64..2_000,
        ) {
            let mut lines = Lines::new(5, ring, turn);
            for &(client, bytes) in &transfers {
                lines.push(arrival(client, bytes), &mut all);
            }
            let (mut done, mut left) = (Vec::new(), transfers.iter().map(|(_, bytes)| bytes).sum::<u64>());
            while left > 0 {
                prop_assert_eq!(lines.waiting_bytes(), left);
                let taken = lines.fill_cell(room, &mut done);
                prop_assert!(taken > 0);
                left -= taken;
                lines.top_up(&mut all);
            }
            prop_assert_eq!(lines.waiting_bytes(), 0);
            let mut expected: Vec<_> = transfers.iter().map(|&(client, bytes)| arrival(client, bytes)).collect();
            expected.sort_unstable();
            done.sort_unstable();
            prop_assert_eq!(done, expected);
            prop_assert_eq!(lines.waiting_transfers, 0);
        }
    }
}
