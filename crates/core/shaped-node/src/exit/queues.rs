//! What the unshaped process says and does.

use super::{CircuitExit, ExitEvent};
use crate::flow::{Far, Owner};
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::tunnel::Tunnel;
use link::Now;
use wire::local::LocalMessage;

/// Most control messages taken from the queues in one call; the rest waits for the next.
const MESSAGES_PER_CALL_MAX: usize = 4096;

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Reads what the unshaped process wrote.
    pub fn handle_queues(&mut self, now: Now) {
        self.now = Some(now.instant);
        for _ in 0..MESSAGES_PER_CALL_MAX {
            let Some(Some(message)) = self.near.with(FlowQueues::poll_message) else { break };
            self.handle_message(now, message);
        }
        let bound = self.near.queues().map_or(0, |queues| queues.queue_count());
        for _ in 0..bound {
            let Some(index) = self.near.queues().and_then(FlowQueues::poll_active) else { break };
            self.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
        }
        self.follow_fault();
    }

    /// Ends all flows if the unshaped process broke the protocol of the queues.
    pub(super) fn follow_fault(&mut self) {
        if let Some(fault) = self.near.take_fault() {
            self.reset_flows();
            self.note(ExitEvent::QueuesFailed(fault));
        }
    }

    fn handle_message(&mut self, now: Now, message: LocalMessage) {
        let queue = message.queue();
        if self.near.table.of(queue).is_none() {
            self.counters.stale_messages += 1;
            return;
        }
        let index = queue.index;
        match message {
            // Flows are opened by clients, never here.
            LocalMessage::Syn(..) => self.counters.stale_messages += 1,
            LocalMessage::Connected(_, address) => {
                self.with_tunnel_of(index, |tunnel, near| tunnel.handle_connected(index, address, near));
            }
            LocalMessage::Fin(_, position) => {
                if let Some(flow) = self.near.table.at(index) {
                    flow.near_fin = Some(position);
                }
                self.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
            }
            LocalMessage::Reset(_, reason) => {
                let handled = self.with_tunnel_of(index, |tunnel, near| tunnel.handle_near_reset(index, reason, near));
                if handled.is_none()
                    && let Some(flow) = self.near.table.at(index)
                {
                    flow.far = Far::Gone;
                    self.near.close_if_done(index);
                }
            }
            LocalMessage::Closed(_, position) => self.near.handle_closed(index, position),
        }
    }

    /// Lets the tunnel that carries a flow act on it, and gives the tunnel its turn.
    fn with_tunnel_of<T>(&mut self, index: u16, act: impl FnOnce(&mut Tunnel, &mut Near<Q>) -> T) -> Option<T> {
        let Owner::Tunnel(id) = self.near.table.at(index)?.owner else { return None };
        let joined = self.tunnels.get_mut(&id)?;
        let done = act(&mut joined.tunnel, &mut self.near);
        self.wake(id);
        Some(done)
    }
}
