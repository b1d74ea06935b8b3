//! Bad input between real processes: each kind is refused, counted and logged, costs little, and a good pair beside it
//! goes on working.

#[path = "bad_input/clients.rs"]
mod clients;
#[path = "bad_input/crowds.rs"]
mod crowds;
#[path = "bad_input/narrow.rs"]
mod narrow;
#[path = "bad_input/packets.rs"]
mod packets;
#[path = "bad_input/resources.rs"]
mod resources;
#[path = "bad_input/rig.rs"]
mod rig;
#[path = "bad_input/start.rs"]
mod start;
#[path = "bad_input/strangers.rs"]
mod strangers;
#[path = "bad_input/versions.rs"]
mod versions;
