//! What the cores have in common that a driver can drive.

use crate::queues::StreamQueues;
use link::{Now, Route};
use shaped_node::{ServiceNode, ShapedNode};

/// A core over the queues of this process's streams. Its methods are those of [`ShapedNode`] and [`ServiceNode`].
pub(crate) trait Node: Send + 'static {
    fn handle_packet(&mut self, now: Now, from: Route, ce: bool, packet: &mut [u8]);
    fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64);
    fn handle_timeout_if_due(&mut self, now: Now);
    fn handle_queues(&mut self, now: Now);
    fn settle(&mut self, now: Now);
    fn queues(&mut self) -> Option<&mut StreamQueues>;
    fn close(&mut self, now: Now);
    fn leave(&mut self);
    fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route>;
}

/// The methods have the same names in both nodes.
macro_rules! node {
    ($node:ident) => {
        impl Node for $node<StreamQueues> {
            fn handle_packet(&mut self, now: Now, from: Route, ce: bool, packet: &mut [u8]) {
                Self::handle_packet(self, now, from, ce, packet);
            }

            fn handle_send_refused(&mut self, now: Now, route: Route, packets: u64) {
                Self::handle_send_refused(self, now, route, packets);
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

            fn queues(&mut self) -> Option<&mut StreamQueues> {
                Self::queues(self)
            }

            fn close(&mut self, now: Now) {
                Self::close(self, now);
            }

            fn leave(&mut self) {
                Self::leave(self);
            }

            fn poll_transmit(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route> {
                Self::poll_transmit(self, now, max, out)
            }
        }
    };
}

node!(ShapedNode);
node!(ServiceNode);
