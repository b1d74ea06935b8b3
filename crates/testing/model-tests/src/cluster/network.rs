//! Connections between the slots of the world, and what travels in them.

use super::dice::Dice;
use replicated_log::{Kind, Outgoing, SessionEpoch};
use std::collections::VecDeque;

/// Most frames in one direction; a transport ends a connection that has more, and so does this one.
const QUEUE_MAX: usize = 512;

/// Two slots and the connection between them.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// `None`: no connection.
    pub(super) epoch: Option<SessionEpoch>,
    /// Nothing arrives in this direction: from the lower slot, from the higher one.
    pub(super) blocked: [bool; 2],
    queues: [VecDeque<Outgoing>; 2],
    /// Frames of an earlier connection that turn up late.
    leftovers: [VecDeque<Outgoing>; 2],
}

impl Pair {
    pub(super) fn is_open(&self) -> bool {
        self.epoch.is_some()
    }

    pub(super) fn connect(&mut self, epoch: SessionEpoch) {
        for (queue, leftovers) in self.queues.iter_mut().zip(&mut self.leftovers) {
            leftovers.clear();
            leftovers.extend(queue.drain(..).take(8));
        }
        self.epoch = Some(epoch);
    }

    pub(super) fn disconnect(&mut self) {
        self.epoch = None;
    }

    pub(super) fn push(&mut self, direction: usize, frame: Outgoing, dice: &mut Dice) {
        if self.epoch != Some(frame.epoch) || (self.blocked[direction] && frame.kind == Kind::Heartbeat) {
            return;
        }
        // Heartbeats travel apart: they may be lost, or come at any place among the others.
        if frame.kind == Kind::Heartbeat {
            if !dice.once_in(50) {
                let place = self.queues[direction].len() - dice.index(self.queues[direction].len().min(3) + 1);
                self.queues[direction].insert(place, frame);
            }
            return;
        }
        self.queues[direction].push_back(frame);
        if self.queues[direction].len() > QUEUE_MAX {
            self.epoch = None;
        }
    }

    /// The next frame of a direction; `reorder` takes any of them.
    pub(super) fn pop(&mut self, direction: usize, reorder: bool, dice: &mut Dice) -> Option<Outgoing> {
        if self.blocked[direction] {
            return None;
        }
        if !self.leftovers[direction].is_empty() && dice.once_in(2) {
            return self.leftovers[direction].pop_front();
        }
        self.epoch?;
        let queue = &mut self.queues[direction];
        if reorder && queue.len() > 1 { queue.remove(dice.index(queue.len())) } else { queue.pop_front() }
    }
}
