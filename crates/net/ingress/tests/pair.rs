//! Real sockets through both unshaped processes, joined by the smallest tunnel.

#[path = "pair/bounds.rs"]
mod bounds;
#[path = "pair/bytes.rs"]
mod bytes;
#[path = "pair/datagrams.rs"]
mod datagrams;
#[path = "pair/directory.rs"]
mod directory;
#[path = "pair/failures.rs"]
mod failures;
#[path = "pair/harness.rs"]
mod harness;
#[path = "pair/life.rs"]
mod life;
#[path = "pair/tunnel.rs"]
mod tunnel;
