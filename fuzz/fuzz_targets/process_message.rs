//! The body also runs over the committed corpus in `cargo test -p os-net`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/os/os-net/tests/bodies/process_message.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
