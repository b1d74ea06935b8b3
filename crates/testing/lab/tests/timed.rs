//! The tests of the lab that judge when packets leave or what a rate comes to: each has the machine to itself.

use lab::turns::{Turn, Turns};

mod circuits_wire;
mod link_hops;
mod many_flows;
mod one_network;
mod shaped_circuits;
mod wire;

/// One at a time.
fn take_turn() -> Turn {
    static TURNS: Turns = Turns::new(1);
    TURNS.take()
}
