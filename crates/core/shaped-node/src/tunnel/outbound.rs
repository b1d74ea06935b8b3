//! Ring to session: turns, portions and the ends of flows.

use super::{Portions, Tunnel, datagrams};
use crate::memory::ROOM_WAIT;
use crate::near::Near;
use crate::queues::FlowQueues;
use session::{FlowId, PIECE_OVERHEAD};
use std::time::Instant;

/// What a turn left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The flow may have more.
    More,
    /// The ring is empty, or the flow is over.
    Idle,
    /// The session takes no more of this flow until it says `Writable`.
    NoCredit,
    /// The session takes no more datagrams before packets have left.
    Full,
}

impl Tunnel {
    /// Lets flows take turns until the session holds `portions.ahead` unsent bytes, nothing waits, or there is no room in memory:
    /// then applications are held back, since nothing leaves their queues.
    ///
    /// Bound: each turn either moves at least one byte towards `ahead` or takes its flow out of the queue.
    pub(crate) fn top_up<Q: FlowQueues>(&mut self, now: Instant, near: &mut Near<Q>, portions: Portions) {
        self.room_at = None;
        if !self.up {
            return;
        }
        while self.session.unsent_bytes() < portions.ahead {
            if self.room == 0 && !self.fair.is_empty() {
                // What is acknowledged makes room, and so does another tunnel.
                self.room_at = Some(now + ROOM_WAIT);
                return;
            }
            let Some((client, index)) = self.fair.pop() else { return };
            let turn = usize::try_from(self.room).unwrap_or(usize::MAX).min(portions.turn);
            match self.take_turn(now, index, near, turn) {
                Turn::More => self.fair.push_again(client, index),
                Turn::Idle | Turn::NoCredit => {}
                Turn::Full => {
                    self.fair.push_again(client, index);
                    return;
                }
            }
        }
    }

    fn take_turn<Q: FlowQueues>(&mut self, now: Instant, index: u16, near: &mut Near<Q>, bytes: usize) -> Turn {
        let Some(flow) = near.table.at(index) else { return Turn::Idle };
        let Some(far) = flow.far_id().filter(|_| !flow.finished_out) else { return Turn::Idle };
        if !Self::is_stream(flow) {
            let turn = datagrams::send(&mut self.session, now, far, index, near);
            self.end_if_drained(index, far, near);
            return turn;
        }
        let portion = bytes.min(near.may_leave(index));
        let Some(chunk) = near.with(|queues| queues.peek(index, portion)) else { return Turn::Idle };
        let offered = chunk.len();
        let taken = if offered == 0 { Ok(0) } else { self.session.write(far, chunk) };
        let Ok(taken) = taken else {
            // The other node stopped the stream; its `FlowReset` event does the rest.
            return Turn::Idle;
        };
        if taken > 0 {
            self.room = self.room.saturating_sub(offered as u64 + PIECE_OVERHEAD);
        }
        near.take_out(now, index, taken as u64);
        self.end_if_drained(index, far, near);
        if taken < offered {
            if let Some(flow) = near.table.at(index) {
                flow.credit_wait = true;
            }
            return Turn::NoCredit;
        }
        if offered == bytes { Turn::More } else { Turn::Idle }
    }

    /// Passes the half-close on when the ring has been read up to it.
    fn end_if_drained<Q: FlowQueues>(&mut self, index: u16, far: FlowId, near: &mut Near<Q>) {
        let Some(read) = near.queues().map(|queues| queues.read_position(index)) else { return };
        let Some(flow) = near.table.at(index) else { return };
        if flow.near_fin == Some(read) && !flow.finished_out {
            flow.finished_out = true;
            self.session.finish(far);
            self.forget_if_finished(index, near);
        }
    }
}
