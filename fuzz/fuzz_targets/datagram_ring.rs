//! The body also runs over the committed corpus in `cargo test -p flow-pump`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/net/flow-pump/tests/bodies/datagram_ring.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
