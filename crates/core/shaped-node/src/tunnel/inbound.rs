//! Session to ring: bytes go in as far as there is room; the rest stays under the stream's flow control,
//! so a slow reader holds back only itself (I5).

use super::Tunnel;
use crate::near::Near;
use crate::queues::FlowQueues;
use session::StreamState;
use std::time::Instant;
use wire::flow::ResetReason;
use wire::local::LocalMessage;

impl Tunnel {
    /// Moves what the session has of one flow into its ring.
    pub(super) fn pump_in<Q: FlowQueues>(&mut self, now: Instant, index: u16, near: &mut Near<Q>) {
        let Some(far) = near.table.at(index).filter(|flow| !flow.finished_in).and_then(|flow| flow.far_id()) else {
            return;
        };
        let Some(room) = near.with(|queues| queues.writable(index)) else { return };
        let session = &mut self.session;
        let Some(outcome) = near.with(|queues| {
            let mut fault = None;
            let outcome = session.read(now, far, room, &mut |chunk| {
                if let Err(error) = queues.write(index, chunk) {
                    fault = Some(error);
                }
            });
            fault.map_or(Ok(outcome), Err)
        }) else {
            return;
        };
        let position = near.queues().map(|queues| queues.write_position(index));
        let (Some(flow), Some(position)) = (near.table.at(index), position) else { return };
        match outcome.state {
            StreamState::Open => flow.room_wait = outcome.bytes == room,
            StreamState::Finished => {
                flow.room_wait = false;
                flow.finished_in = true;
                let queue = flow.queue;
                near.send(&LocalMessage::Fin(queue, position));
                self.forget_if_finished(index, near);
            }
            StreamState::Reset(reason) => self.reset_in(index, reason, near),
        }
    }

    fn reset_in<Q: FlowQueues>(&mut self, index: u16, reason: ResetReason, near: &mut Near<Q>) {
        if let Some(far) = near.table.at(index).and_then(|flow| flow.far_id()) {
            self.by_far.remove(&far);
        }
        near.reset(index, reason);
    }
}
