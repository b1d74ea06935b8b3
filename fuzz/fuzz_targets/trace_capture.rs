//! The body also runs over the committed corpus in `cargo test -p shaping-sim`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/shaping-sim/tests/bodies/trace_capture.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
