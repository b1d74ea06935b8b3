//! The body also runs over the committed corpus in `cargo test -p cluster-node`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/net/cluster-node/tests/bodies/cluster_frames.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
