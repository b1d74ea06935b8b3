//! What the unshaped process says and does.

use super::{CircuitExit, ExitEvent};
use crate::flow::Owner;
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::tunnel::{Tunnel, handle_message};
use link::Now;
use wire::local::LocalMessage;

impl<Q: FlowQueues> CircuitExit<Q> {
    /// Reads what the unshaped process wrote. With a schedule only the slot clock may lead here (I10).
    pub fn handle_queues(&mut self, now: Now) {
        self.now = Some(now.instant);
        let handle_message = |node: &mut Self, message| node.handle_message(now, message);
        let handle_filled = |node: &mut Self, index| {
            node.admit(index);
            node.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
        };
        Near::read(self, now.instant, |node| &mut node.near, handle_message, handle_filled);
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
        if matches!(message, LocalMessage::Syn(..)) {
            // Flows are opened by clients, never here.
            self.counters.stale_messages += 1;
            return;
        }
        let act = |tunnel: &mut Tunnel, near: &mut Near<Q>| handle_message(now.instant, &message, Some(tunnel), near);
        if self.with_tunnel_of(queue.index, act).is_none() {
            handle_message(now.instant, &message, None, &mut self.near);
        }
    }

    /// Lets the tunnel that carries a flow act on it, and gives the tunnel its turn.
    pub(super) fn with_tunnel_of<T>(
        &mut self,
        index: u16,
        act: impl FnOnce(&mut Tunnel, &mut Near<Q>) -> T,
    ) -> Option<T> {
        let Owner::Tunnel(id) = self.near.table.at(index)?.owner else { return None };
        let joined = self.tunnels.get_mut(&id)?;
        let done = act(&mut joined.tunnel, &mut self.near);
        self.wake(id);
        Some(done)
    }
}
