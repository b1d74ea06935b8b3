//! The body also runs over the committed corpus in `cargo test -p node`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/product/node/tests/bodies/replay_file.rs"]
mod body;

fuzz_target!(|data: &[u8]| body::run(data));
