//! What is joined to circuits that end at an exit.

use link::Now;
use onion::CircuitKey;
use relay_node::{NodeEvent, RelayNode};
use std::time::Instant;

/// The far end of tunnels: gets what comes out of circuits and puts cells into them, with [`RelayNode::send_inner`]. It runs in
/// the relay's loop and must not wait; what it cannot take it drops.
pub trait JoinPoint {
    /// A cell came out of a circuit. `number` is its number on the circuit.
    fn handle_inner(&mut self, now: Now, circuit: CircuitKey, number: u64, inner: &[u8], node: &mut RelayNode);

    /// A circuit begins or ends here: [`NodeEvent::Opened`], [`NodeEvent::NotLast`] or [`NodeEvent::Closed`].
    fn handle_event(&mut self, now: Now, event: NodeEvent, node: &mut RelayNode);

    /// Its time has come.
    fn handle_timeout(&mut self, now: Now, node: &mut RelayNode);

    /// When [`JoinPoint::handle_timeout`] is to be called.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// For a relay that is no exit: nothing comes out of circuits, and nothing is put in.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingJoined;

impl JoinPoint for NothingJoined {
    fn handle_inner(&mut self, _: Now, _: CircuitKey, _: u64, _: &[u8], _: &mut RelayNode) {}

    fn handle_event(&mut self, _: Now, _: NodeEvent, _: &mut RelayNode) {}

    fn handle_timeout(&mut self, _: Now, _: &mut RelayNode) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
