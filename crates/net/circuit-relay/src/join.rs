//! What is joined to circuits that end at an exit.

use crate::counters::Snapshot;
use link::Now;
use onion::CircuitKey;
use relay_node::{NodeEvent, RelayNode};
use rustix::event::PollFd;
use std::time::{Duration, Instant};

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

    /// In each turn of the loop, before packets leave: it looks at what else it has to look at, and puts cells into circuits.
    fn pump(&mut self, _now: Now, _node: &mut RelayNode) {}

    /// The relay's sums, about once a second.
    fn handle_snapshot(&mut self, _snapshot: &Snapshot, _node: &RelayNode) {}

    /// The relay is to stop gently, and ends circuits that are left after this time; said once.
    fn poll_stop(&mut self) -> Option<Duration> {
        None
    }

    /// The loop is to end now, whatever is left.
    fn is_over(&self, _now: Now) -> bool {
        false
    }

    /// The loop is about to sleep until one of [`JoinPoint::watched`] can be read, among other things. False: there is
    /// something to do already.
    fn prepare_sleep(&mut self) -> bool {
        true
    }

    /// What wakes the loop beside packets, time and its handle.
    fn watched(&self) -> Vec<PollFd<'_>> {
        Vec::new()
    }

    /// The loop has slept, whatever woke it.
    fn handle_woken(&mut self) {}
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
