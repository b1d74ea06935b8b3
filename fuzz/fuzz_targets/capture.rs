//! The body also runs over the committed corpus in `cargo test -p adversary`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/adversary/tests/bodies/capture.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
