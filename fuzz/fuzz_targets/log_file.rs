//! The body also runs over the committed corpus in `cargo test -p replicated-log`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/replicated-log/tests/bodies/log_file.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
