//! The body also runs over the committed corpus in `cargo test -p wire`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/wire/tests/bodies/leg_header.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
