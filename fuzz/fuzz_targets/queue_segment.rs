//! The body also runs over the committed corpus in `cargo test -p flow-queue`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/net/flow-queue/tests/bodies/queue_segment.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
