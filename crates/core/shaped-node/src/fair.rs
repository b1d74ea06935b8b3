//! Fair service: clients take turns, and within a client its flows take turns.
//!
//! Every turn is worth the same number of bytes (the caller's quantum), so a client with a hundred flows
//! gets what a client with one flow gets. A turn that finds nothing to send is not repeated until the flow
//! is put in again. At most one entry per flow is kept, so the bound is the number of queue pairs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Flows that wait for a turn, by queue index.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    turns: VecDeque<u64>,
    waiting: BTreeMap<u64, VecDeque<u16>>,
    members: BTreeSet<u16>,
}

impl FairQueue {
    /// Puts a flow at the end of its client's line. A flow that already waits keeps its place.
    pub(crate) fn push(&mut self, client: u64, index: u16) {
        if !self.members.insert(index) {
            return;
        }
        let line = self.waiting.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        line.push_back(index);
    }

    /// The flow whose turn it is, and its client. It leaves the queue; the client goes to the end.
    pub(crate) fn pop(&mut self) -> Option<(u64, u16)> {
        let client = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&client)?;
        let index = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.members.remove(&index);
        Some((client, index))
    }

    /// True when no flow waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_evenly_whatever_their_number_of_flows() {
        let mut queue = FairQueue::default();
        for index in 0..100 {
            queue.push(1, index);
        }
        queue.push(2, 500);
        queue.push(2, 500);
        let mut turns = BTreeMap::new();
        for _ in 0..1000 {
            let Some((client, index)) = queue.pop() else { break };
            *turns.entry(client).or_insert(0) += 1;
            queue.push(client, index);
        }
        assert_eq!(turns, BTreeMap::from([(1, 500), (2, 500)]));
    }

    #[test]
    fn flows_of_a_client_take_turns_and_leave_cleanly() {
        let mut queue = FairQueue::default();
        queue.push(7, 1);
        queue.push(7, 2);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some((7, 1)), Some((7, 2)), None]);
        assert!(queue.is_empty());
        assert!(queue.waiting.is_empty() && queue.members.is_empty());
    }
}
