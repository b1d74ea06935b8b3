//! What a shell needs of a node to drive it, whichever of the two it is: both are fed and drained alike. What they say and are told
//! beside that is their own.

use crate::circuits::{DocumentRefused, NextDocument};
use crate::node::ShapedNode;
use crate::plan::SlotPlan;
use crate::queues::FlowQueues;
use crate::service_node::ServiceNode;
use crate::status::HopFigures;
use link::{Now, Route, SocketOrder, Via};
use std::net::SocketAddr;
use std::time::Instant;

/// A [`ShapedNode`] or a [`ServiceNode`]; what each method does is said there.
pub trait DrivenNode<Q: FlowQueues> {
    /// One UDP payload.
    fn handle_packet(&mut self, now: Now, from: Route, ce: bool, packet: &mut [u8]);
    /// A socket that was asked for is there.
    fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr);
    /// A socket could not be opened.
    fn handle_socket_failed(&mut self, now: Now, via: Via);
    /// The system refused so many packets on this way.
    fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64);
    /// Lets time pass.
    fn handle_timeout(&mut self, now: Now);
    /// The same if its time has come.
    fn handle_timeout_if_due(&mut self, now: Now);
    /// Reads what the unshaped side wrote.
    fn handle_queues(&mut self, now: Now);
    /// To be called after a batch of packets.
    fn settle(&mut self, now: Now);
    /// The queues.
    fn queues(&mut self) -> Option<&mut Q>;
    /// The queues, to look at.
    fn queues_ref(&self) -> Option<&Q>;
    /// Takes queues of a new generation.
    fn attach_queues(&mut self, now: Now, queues: Q);
    /// Goes by a later document of the same network.
    ///
    /// # Errors
    /// When it is not later, or of another network.
    fn set_document(&mut self, now: Now, next: NextDocument) -> Result<(), DocumentRefused>;
    /// Ends all sessions so that others learn of it.
    fn close(&mut self, now: Now);
    /// Ends all links to guards.
    fn leave(&mut self);
    /// What is to be done with sockets.
    fn poll_socket_order(&mut self) -> Option<SocketOrder>;
    /// Packets that may leave, in mode `off`.
    fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route>;
    /// When [`DrivenNode::handle_timeout`] has something to do.
    fn next_wake(&mut self, now: Now) -> Option<Instant>;
    /// Lanes of a slot plan.
    fn lanes(&self) -> usize;
    /// The first slot at `from` or later in which something is sent.
    fn next_busy_slot(&self, from: u64) -> Option<u64>;
    /// Makes the packets of a slot.
    fn prepare_slot(&mut self, now: Now, slot: u64, spare_used: bool, late: &dyn Fn(usize) -> u64, plan: &mut SlotPlan);
    /// How links hop.
    fn hop_figures(&self, now: Instant) -> Vec<Option<HopFigures>>;
}

/// The methods have the same names in both nodes, but that only one needs the time to say when it is to be woken.
macro_rules! driven {
    ($node:ident, $poll_timeout:expr) => {
        impl<Q: FlowQueues> DrivenNode<Q> for $node<Q> {
            fn handle_packet(&mut self, now: Now, from: Route, ce: bool, packet: &mut [u8]) {
                Self::handle_packet(self, now, from, ce, packet);
            }
            fn handle_socket_opened(&mut self, now: Now, via: Via, local: SocketAddr) {
                Self::handle_socket_opened(self, now, via, local);
            }
            fn handle_socket_failed(&mut self, now: Now, via: Via) {
                Self::handle_socket_failed(self, now, via);
            }
            fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
                Self::handle_send_refused(self, now, route, packets);
            }
            fn handle_timeout(&mut self, now: Now) {
                Self::handle_timeout(self, now);
            }
            fn handle_timeout_if_due(&mut self, now: Now) {
                Self::handle_timeout_if_due(self, now);
            }
            fn handle_queues(&mut self, now: Now) {
                Self::handle_queues(self, now);
            }
            fn settle(&mut self, now: Now) {
                Self::settle(self, now);
            }
            fn queues(&mut self) -> Option<&mut Q> {
                Self::queues(self)
            }
            fn queues_ref(&self) -> Option<&Q> {
                Self::queues_ref(self)
            }
            fn attach_queues(&mut self, now: Now, queues: Q) {
                Self::attach_queues(self, now, queues);
            }
            fn set_document(&mut self, now: Now, next: NextDocument) -> Result<(), DocumentRefused> {
                Self::set_document(self, now, next)
            }
            fn close(&mut self, now: Now) {
                Self::close(self, now);
            }
            fn leave(&mut self) {
                Self::leave(self);
            }
            fn poll_socket_order(&mut self) -> Option<SocketOrder> {
                Self::poll_socket_order(self)
            }
            fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route> {
                Self::poll_transmit(self, now, max, out)
            }
            fn next_wake(&mut self, now: Now) -> Option<Instant> {
                let poll_timeout: fn(&mut Self, Now) -> Option<Instant> = $poll_timeout;
                poll_timeout(self, now)
            }
            fn lanes(&self) -> usize {
                Self::lanes(self)
            }
            fn next_busy_slot(&self, from: u64) -> Option<u64> {
                Self::next_busy_slot(self, from)
            }
            fn prepare_slot(
                &mut self,
                now: Now,
                slot: u64,
                spare_used: bool,
                late: &dyn Fn(usize) -> u64,
                plan: &mut SlotPlan,
            ) {
                Self::prepare_slot(self, now, slot, spare_used, late, plan);
            }
            fn hop_figures(&self, now: Instant) -> Vec<Option<HopFigures>> {
                Self::hop_figures(self, now)
            }
        }
    };
}

driven!(ShapedNode, |node, _| node.poll_timeout());
driven!(ServiceNode, Self::poll_timeout);
