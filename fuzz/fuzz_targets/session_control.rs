//! The body also runs over the committed corpus in `cargo test -p session`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/session/tests/bodies/session_control.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
