//! The tests of the lab that judge when packets leave or what a rate comes to: each has the machine to itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod circuits_wire;
mod link_hops;
mod many_flows;
mod one_network;
mod shaped_circuits;
mod wire;

/// Held for as long as a test runs.
fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
