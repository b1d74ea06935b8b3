//! The near side: what the unshaped process wrote, and the tunnels that it is for.

use crate::circuits::Circuits;
use crate::flow::Owner;
use crate::near::Near;
use crate::node::ShapedNode;
use crate::queues::FlowQueues;
use crate::tunnel::{Tunnel, handle_message};
use link::Now;
use wire::local::LocalMessage;

impl<Q: FlowQueues> ShapedNode<Q> {
    /// Reads what the unshaped process wrote. In shaped modes only the slot clock may lead here (I10).
    pub fn handle_queues(&mut self, now: Now) {
        let handle_message = |node: &mut Self, message| node.handle_message(now, message);
        let handle_filled = |node: &mut Self, index| {
            node.admit(index);
            node.with_tunnel_of(index, |tunnel, near| tunnel.handle_active(now.instant, index, near));
        };
        Near::read(self, now.instant, |node| &mut node.near, handle_message, handle_filled);
        self.settle(now);
    }

    fn handle_message(&mut self, now: Now, message: LocalMessage) {
        let queue = message.queue();
        if let LocalMessage::Syn(queue, syn) = message {
            self.handle_syn(now, queue, syn);
            return;
        }
        if self.near.table.of(queue).is_none() {
            self.counters.stale_messages += 1;
            return;
        }
        let act = |tunnel: &mut Tunnel, near: &mut Near<Q>| handle_message(now.instant, &message, Some(tunnel), near);
        if self.with_tunnel_of(queue.index, act).is_none() {
            handle_message(now.instant, &message, None, &mut self.near);
        }
    }

    /// Lets what came into a queue pair count as arrived, as far as its client's quota goes. True if anything did.
    pub(crate) fn admit(&mut self, index: u16) -> bool {
        let Some(owner) = self.near.table.at(index).map(|flow| flow.owner) else { return false };
        match owner {
            Owner::Link(link) => {
                let Some(peer) = self.peers.get_mut(&link) else { return false };
                self.near.admit(index, |client, wanted| peer.pacing.admit(client, wanted)) > 0
            }
            Owner::Tunnel(_) | Owner::Group(_) => {
                let Some(uplink) = self.circuits.as_mut().and_then(Circuits::uplink_mut) else { return false };
                self.near.admit(index, |client, wanted| uplink.admit(client, wanted)) > 0
            }
        }
    }

    pub(crate) fn with_tunnel_of<T>(
        &mut self,
        index: u16,
        act: impl FnOnce(&mut Tunnel, &mut Near<Q>) -> T,
    ) -> Option<T> {
        let tunnel = match self.near.table.at(index)?.owner {
            Owner::Link(link) => &mut self.peers.get_mut(&link)?.direct.as_mut()?.tunnel,
            Owner::Group(_) => return None,
            Owner::Tunnel(number) => self.circuits.as_mut()?.tunnel_mut(number)?,
        };
        Some(act(tunnel, &mut self.near))
    }
}
