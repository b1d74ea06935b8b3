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
    lines: BTreeMap<u64, Line>,
    members: BTreeSet<u16>,
}

/// The flows of one client. Those that had nothing to send until now go before those that had their turn, but
/// only every other time: a request need not wait for eight downloads, and cannot starve them.
#[derive(Debug, Default)]
struct Line {
    fresh: VecDeque<u16>,
    busy: VecDeque<u16>,
    fresh_was_last: bool,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.busy.is_empty()
    }

    fn pop(&mut self) -> Option<u16> {
        let prefer_busy = std::mem::replace(&mut self.fresh_was_last, false);
        let busy = if prefer_busy { self.busy.pop_front() } else { None };
        busy.or_else(|| {
            let fresh = self.fresh.pop_front();
            self.fresh_was_last = fresh.is_some();
            fresh.or_else(|| self.busy.pop_front())
        })
    }
}

impl FairQueue {
    /// Puts in a flow that had nothing to send until now. A flow that already waits keeps its place.
    pub(crate) fn push(&mut self, client: u64, index: u16) {
        self.insert(client, index, |line| line.fresh.push_back(index));
    }

    /// Puts a flow back that had its turn and has more.
    pub(crate) fn push_again(&mut self, client: u64, index: u16) {
        self.insert(client, index, |line| line.busy.push_back(index));
    }

    fn insert(&mut self, client: u64, index: u16, place: impl FnOnce(&mut Line)) {
        if !self.members.insert(index) {
            return;
        }
        let line = self.lines.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        place(line);
    }

    /// The flow whose turn it is, and its client. It leaves the queue; the client goes to the end.
    pub(crate) fn pop(&mut self) -> Option<(u64, u16)> {
        let client = self.turns.pop_front()?;
        let line = self.lines.get_mut(&client)?;
        let index = line.pop()?;
        if line.is_empty() {
            self.lines.remove(&client);
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
            queue.push_again(client, index);
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
        assert!(queue.lines.is_empty() && queue.members.is_empty());
    }

    #[test]
    fn a_request_goes_before_downloads_but_cannot_starve_them() {
        let mut queue = FairQueue::default();
        for index in 0..8 {
            queue.push_again(1, index);
        }
        queue.push(1, 100);
        let mut turns = 0;
        assert_eq!(queue.pop(), Some((1, 100)), "before the downloads");
        queue.push(1, 100);
        for _ in 0..100 {
            let Some((client, index)) = queue.pop() else { break };
            if index == 100 {
                turns += 1;
                queue.push(client, index);
            } else {
                queue.push_again(client, index);
            }
        }
        assert_eq!(turns, 50, "an endless row of requests gets half, the downloads the other half");
    }
}
