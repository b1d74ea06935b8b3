//! The body also runs over the committed corpus in `cargo test -p config`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/product/config/tests/bodies/px_file.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
